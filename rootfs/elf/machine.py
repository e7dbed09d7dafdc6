"""The machine that ELF files are for, and Debian's names of architectures."""

from __future__ import annotations

import struct
from collections import Counter

from rootfs.elf.reader import EXECUTABLE, MAGIC, SHARED

HEADER_SIZE = 20  # bytes of a file that name its machine

# By class (1: 32 bits), byte order (1: little) and e_machine of ELF (gABI, chapter 4), Debian's names.
ARCHITECTURES = {
    (1, 1, 3): ("i386",),
    (1, 1, 8): ("mipsel",),
    (2, 1, 8): ("mips64el",),
    (2, 1, 21): ("ppc64el",),
    (2, 2, 21): ("ppc64",),
    (2, 2, 22): ("s390x",),
    (1, 1, 40): ("armhf", "armel"),
    (1, 1, 62): ("x32",),
    (2, 1, 62): ("amd64",),
    (2, 1, 183): ("arm64",),
    (2, 1, 243): ("riscv64",),
    (2, 1, 258): ("loong64",),
}

Machine = tuple[int, int, int]


def machine_of(head: bytes) -> Machine | None:
    """The machine named in the first HEADER_SIZE bytes of a file; None if it is no program or library."""
    if len(head) < HEADER_SIZE or not head.startswith(MAGIC) or head[5] not in (1, 2):
        return None
    kind, machine = struct.unpack_from("<HH" if head[5] == 1 else ">HH", head, 16)
    return (head[4], head[5], machine) if kind in (EXECUTABLE, SHARED) else None


def architectures(found: Counter[Machine]) -> tuple[str, ...]:
    """The architectures that most of the programs and libraries are for; empty where there are none."""
    if not found:
        return ()
    kind = found.most_common(1)[0][0]
    return ARCHITECTURES.get(kind, (f"an unknown machine ({kind[2]})",))
