"""ELF files of nothing but what the dynamic linker reads."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

X86_64, ARM64 = 62, 183
NEEDED, STRTAB, STRSZ, SONAME, RPATH, RUNPATH = 1, 5, 10, 14, 15, 29
VERDEF, VERDEFNUM, VERNEED, VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        data = text.encode(errors="surrogateescape")
        self.data += data + b"\0"
        return len(self.data) - len(data) - 1


def elf(
    *needed: str,
    interpreter: str = "",
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    requires: Mapping[str, Sequence[str]] | None = None,
    provides: Sequence[str] = (),
    calls: Sequence[str] = (),
    machine: int = X86_64,
) -> bytes:
    """A program (with an `interpreter`) or a library, of 64 bits, that is linked so. Nothing in it can run."""
    strings = _Strings()
    tags = [(NEEDED, strings.add(name)) for name in needed]
    tags += [(tag, strings.add(text)) for tag, text in ((SONAME, soname), (RPATH, rpath), (RUNPATH, runpath)) if text]
    for function in calls:
        strings.add(function)
    verneed = _verneed(requires or {}, strings)
    verdef = _verdef(provides, strings)
    segments = 3 if interpreter else 2
    interp_at = 64 + 56 * segments
    interp = interpreter.encode(errors="surrogateescape") + b"\0" if interpreter else b""
    strings_at = interp_at + len(interp)
    verneed_at = strings_at + len(strings.data)
    verdef_at = verneed_at + len(verneed)
    dynamic_at = verdef_at + len(verdef)
    tags += [(STRTAB, strings_at), (STRSZ, len(strings.data))]
    tags += [(VERNEED, verneed_at), (VERNEEDNUM, len(requires))] if requires else []
    tags += [(VERDEF, verdef_at), (VERDEFNUM, len(provides))] if provides else []
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in [*tags, (0, 0)])
    size = dynamic_at + len(dynamic)
    table = _segment(1, 0, size) + _segment(2, dynamic_at, len(dynamic))
    table += _segment(3, interp_at, len(interp)) if interpreter else b""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, segments, 0, 0, 0)
    return head + table + interp + strings.data + verneed + verdef + dynamic


def _segment(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 1)


def _verneed(requires: Mapping[str, Sequence[str]], strings: _Strings) -> bytes:
    out, left = b"", len(requires)
    for library, versions in requires.items():
        left -= 1
        following = 16 * (1 + len(versions)) if left else 0
        out += struct.pack("<HHIII", 1, len(versions), strings.add(library), 16, following)
        for number, version in enumerate(versions, 1):
            step = 16 if number < len(versions) else 0
            out += struct.pack("<IHHII", 0, 0, number + 1, strings.add(version), step)
    return out


def _verdef(provides: Sequence[str], strings: _Strings) -> bytes:
    out = b""
    for number, version in enumerate(provides, 1):
        following = 28 if number < len(provides) else 0
        out += struct.pack("<HHHHIII", 1, 0, number, 1, 0, 20, following)
        out += struct.pack("<II", strings.add(version), 0)
    return out
