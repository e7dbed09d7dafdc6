"""A seccomp filter (seccomp(2)) that refuses access to the kernel's keys (keyrings(7)), which no namespace hides.

bubblewrap reads it from a file descriptor, as a classic BPF program: see the kernel's `struct sock_filter`.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # codes of instructions
NUMBER, ARCHITECTURE = 0, 4  # offsets in `struct seccomp_data`
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM

# By AUDIT_ARCH_* (linux/audit.h): the numbers of add_key, request_key and keyctl.
KEYS = {
    0xC000003E: (248, 249, 250, 0x400000F8, 0x400000F9, 0x400000FA),  # x86_64, x32
    0x40000003: (286, 287, 288),  # i386
    0xC00000B7: (217, 218, 219),  # aarch64
    0x40000028: (309, 310, 311),  # arm
    0xC00000F3: (217, 218, 219),  # riscv64
    0xC0000102: (217, 218, 219),  # loongarch64
    0xC0000015: (269, 270, 271),  # ppc64le
    0x80000016: (278, 279, 280),  # s390x
}


def program() -> bytes:
    """The filter: what is not refused is allowed."""
    made = [_step(LOAD, ARCHITECTURE)]
    for architecture, numbers in KEYS.items():
        made += [_step(EQUAL, architecture, no=len(numbers) + 3), _step(LOAD, NUMBER)]
        made += [_step(EQUAL, number, yes=len(numbers) - index) for index, number in enumerate(numbers)]
        made += [_step(RETURN, ALLOW), _step(RETURN, REFUSE)]
    return b"".join([*made, _step(RETURN, ALLOW)])


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are how many it skips then."""
    return struct.pack("=HBBI", code, yes, no, value)


@contextlib.contextmanager
def opened() -> Iterator[int]:
    """A file descriptor that the filter can be read from."""
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, program())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
