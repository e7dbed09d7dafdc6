"""Read ELF files: the libraries and symbol versions that they need, from the same segments as the dynamic linker.

Sources: the System V ABI (gABI), chapter 5, and the Linux Standard Base, "Symbol Versioning". Own code, as the
libraries for it take 2 to 5 ms a file, which is seconds for an image; tests hold it against one of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

MAGIC = b"\x7fELF"
LONGEST = 4096  # bytes of a name
NAMES = 1 << 18  # bytes of all names of a file
MOST = 1 << 16  # entries of a table, tags of a dynamic segment: no file has as many

EXECUTABLE, SHARED = 2, 3  # e_type
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3  # p_type
NEEDED, STRTAB, STRSZ, SONAME, RPATH, RUNPATH = 1, 5, 10, 14, 15, 29  # d_tag
VERDEF, VERDEFNUM, VERNEED, VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF

GLIBC, UNWINDER = "libc.so.6", "libgcc_s.so.1"
# glibc opens its unwinder when a thread is ended or cancelled, and aborts where there is none (nptl/pthread_exit.c).
ENDING = re.compile(rb"\0pthread_(exit|cancel)\0")
CHUNK = 1 << 20  # bytes


class BrokenElf(ValueError):
    """An ELF file that no linker could load."""


@dataclass(frozen=True)
class Elf:
    """A file that can be loaded. Files of the same `kind` (class, byte order, machine) can be loaded together.

    `opened` are libraries that the C library opens at run time for functions that this file calls.
    `requires` are the symbol versions that it needs from each library, `provides` those that it has itself.
    """

    kind: tuple[int, int, int]
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    requires: dict[str, tuple[str, ...]] = field(default_factory=dict)
    provides: frozenset[str] = frozenset()

    @property
    def weight(self) -> int:
        """The approximate size of this object in memory, in bytes."""
        names = (self.interpreter, self.soname, *self.needed, *self.rpath, *self.runpath, *self.provides)
        versions = (name for known in self.requires.values() for name in known)
        return 512 + sum(64 + len(name) for name in (*names, *self.requires, *versions))


def read(stream: IO[bytes]) -> Elf | None:
    """Read a program or library; None for any other file. Raises BrokenElf."""
    stream.seek(0)
    if stream.read(len(MAGIC)) != MAGIC:
        return None
    try:
        return _Reader(stream).elf()
    except (struct.error, OverflowError, OSError) as error:
        raise BrokenElf(f"it ends early, or says so ({error})") from error


class _Reader:
    """One file, in its own class and byte order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        stream.seek(0)
        ident = stream.read(16)
        if len(ident) < 16 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise BrokenElf("it has no known class or byte order")
        self._order = "<" if ident[5] == 1 else ">"
        self._wide = ident[4] == 2
        header = self._unpack("HHIQQQIHHH" if self._wide else "HHIIIIIHHH", 16)
        self._type, machine, self._table, self._entry, self._count = header[0], header[1], header[4], *header[8:10]
        self._kind = (ident[4], ident[5], machine)
        self._loads: list[tuple[int, int, int]] = []
        self._strings = self._named = 0

    def elf(self) -> Elf | None:
        if self._type not in (EXECUTABLE, SHARED):
            return None
        interpreter, dynamic = "", []
        for kind, offset, address, size in self._segments():
            if kind == LOAD:
                self._loads.append((address, size, offset))
            elif kind == INTERPRETER:
                interpreter = self._bytes(offset, min(size, LONGEST)).rstrip(b"\0").decode(errors="surrogateescape")
            elif kind == DYNAMIC:
                dynamic = list(self._tags(offset, size))
        tags = dict(reversed(dynamic))  # of several the first counts
        self._strings = self._offset(tags.get(STRTAB, 0)) if dynamic else 0
        needed = tuple(self._string(value) for tag, value in dynamic if tag == NEEDED)
        return Elf(
            kind=self._kind,
            interpreter=interpreter,
            soname=self._string(tags[SONAME]) if SONAME in tags else "",
            needed=needed,
            opened=(UNWINDER,) if GLIBC in needed and self._ends_threads(tags.get(STRSZ, 0)) else (),
            rpath=self._paths(tags, RPATH),
            runpath=self._paths(tags, RUNPATH),
            requires=dict(self._required(tags)),
            provides=frozenset(self._provided(tags)),
        )

    def _segments(self) -> Iterator[tuple[int, int, int, int]]:
        """Type, offset, address and size in the file."""
        for number in range(self._count):
            place = self._table + number * self._entry
            if self._wide:
                kind, _, offset, address, _, size = self._unpack("IIQQQQ", place)
            else:
                kind, offset, address, _, size = self._unpack("IIIII", place)
            yield kind, offset, address, size

    def _tags(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        form = self._order + ("QQ" if self._wide else "II")
        data = self._bytes(offset, min(size, MOST * struct.calcsize(form)))
        for tag, value in struct.iter_unpack(form, data[: len(data) - len(data) % struct.calcsize(form)]):
            if not tag:
                return
            yield tag, value

    def _required(self, tags: dict[int, int]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """`Elf_Verneed` and its `Elf_Vernaux`es, each of 16 bytes."""
        place = self._offset(tags[VERNEED]) if VERNEED in tags else 0
        for _ in range(min(tags.get(VERNEEDNUM, 0), MOST)):
            _, count, file, first, following = self._unpack("HHIII", place)
            names, at = [], place + first
            for _ in range(count):
                _, _, _, name, step = self._unpack("IHHII", at)
                names.append(self._string(name))
                if not step:
                    break
                at += step
            yield self._string(file), tuple(names)
            if not following:
                return
            place += following

    def _provided(self, tags: dict[int, int]) -> Iterator[str]:
        """`Elf_Verdef`, of 20 bytes, of which the first `Elf_Verdaux` has the name."""
        place = self._offset(tags[VERDEF]) if VERDEF in tags else 0
        for _ in range(min(tags.get(VERDEFNUM, 0), MOST)):
            _, _, _, _, _, first, following = self._unpack("HHHHIII", place)
            yield self._string(self._unpack("I", place + first)[0])
            if not following:
                return
            place += following

    def _ends_threads(self, size: int) -> bool:
        """Whether its string table of `size` bytes names one of those functions."""
        self._stream.seek(self._strings)
        seen = b""
        while size > 0 and (chunk := self._stream.read(min(size, CHUNK))):
            if ENDING.search(seen + chunk):
                return True
            seen, size = chunk[-32:], size - len(chunk)
        return False

    def _paths(self, tags: dict[int, int], tag: int) -> tuple[str, ...]:
        return tuple(self._string(tags[tag]).split(":")) if tag in tags else ()

    def _offset(self, address: int) -> int:
        """Where in the file an address is."""
        for start, size, offset in self._loads:
            if start <= address < start + size:
                return address - start + offset
        raise BrokenElf(f"nothing of it is loaded at {address:#x}")

    def _string(self, offset: int) -> str:
        self._stream.seek(self._strings + offset)
        name, end, _ = self._stream.read(LONGEST).partition(b"\0")
        self._named += len(name)
        if not end or self._named > NAMES:
            raise BrokenElf("a name does not end" if not end else "it has more names than any program")
        return name.decode(errors="surrogateescape")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._bytes(offset, struct.calcsize(form)))

    def _bytes(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(size)
