"""Check that each program and library of a tree finds its libraries there, searching as ld.so(8) does."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from tarfile import LNKTYPE, SYMTYPE

from rootfs.elf import reader
from rootfs.elf.machine import ARCHITECTURES, Machine
from rootfs.elf.reader import BrokenElf, Elf
from rootfs.system.text import printable
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, Members, close_copy, peek, seekable

CACHE = "etc/ld.so.cache"  # without it the linker does not search the folders of ld.so.conf
CONF = re.compile(r"etc/ld\.so\.conf(\.d/[^/]+\.conf)?|etc/ld-musl-[^/]+\.path")
MUSL = re.compile(r"/ld-musl-[^/]+\.so\.1$")
STANDARD = ("lib", "usr/lib", "lib64", "usr/lib64", "lib32", "usr/lib32", "libx32", "usr/libx32")
MUSL_STANDARD = ("lib", "usr/local/lib", "usr/lib")
# Debian's linker also searches the folders of its own architecture (multiarch).
TRIPLETS = {
    3: "i386-linux-gnu",
    22: "s390x-linux-gnu",
    21: "powerpc64le-linux-gnu",
    40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu",
    183: "aarch64-linux-gnu",
    243: "riscv64-linux-gnu",
}  # by e_machine
HOPS = 40  # symbolic links on one path, the limit of the kernel (path_resolution(7))
SMALL = 1 << 20  # bytes of configuration files that are read
LARGE = 64 << 20  # bytes of memory for all programs: several times those of a full desktop


@dataclass(frozen=True)
class Missing:
    """A file that lacks a library, or versions of its symbols; `reason` where the file cannot be read."""

    file: str
    library: str
    versions: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """The library's name without its folder."""
        return posixpath.basename(self.library)

    def __str__(self) -> str:
        if self.reason:
            return printable(f"/{self.file} is broken: {self.reason}")
        what = f"{', '.join(self.versions)} of {self.library}" if self.versions else self.library
        return printable(f"/{self.file} needs {what}")


class LinkageCheck:
    """Observes the stream of members and records which libraries each file needs and provides."""

    def __init__(self, library_path: str = "") -> None:
        self._elves: dict[str, Elf] = {}
        self._names: dict[str, str] = {}  # of hard links, the path that has the content
        self._links: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._broken: list[Missing] = []
        self._library_path = _folders(library_path.split(":"))
        self._has_cache = False
        self._read_texts = self._size = 0

    def observe(self, members: Members) -> Iterator[Member]:
        """Yield the same members; the check is complete when they have all passed."""
        for member in members:
            yield (noted := self.observe_member(member))
            close_copy(noted, member)

    @property
    def size(self) -> int:
        """The number of programs and libraries."""
        return len(self._elves)

    @property
    def machines(self) -> Counter[Machine]:
        """The number of programs and libraries for each machine."""
        return Counter(each.kind for each in self._elves.values())

    def architectures_of(self, path: str) -> tuple[str, ...]:
        """The architectures that a program or library is for; empty where that is unknown."""
        return ARCHITECTURES.get(self._elves[path].kind, ()) if path in self._elves else ()

    def missing(self) -> list[Missing]:
        """The missing libraries, by file."""
        usual = self._usual()
        found = [each for path in self._elves for each in self._lacking(path, usual)]
        return sorted([*self._broken, *found], key=lambda each: (each.file, each.library))

    def observe_member(self, member: Member) -> Member:
        """Record one member, and return it with all its content."""
        path = member.path
        if member.kind == SYMTYPE:
            self._links[path] = member.link
        elif member.kind == LNKTYPE:
            self._names[path] = member.link
        elif member.is_file and member.content and member.size:
            self._has_cache |= path == CACHE
            if CONF.fullmatch(path) and member.size + self._read_texts < SMALL:
                data = member.content.read()
                self._read_texts += member.size
                self._texts[path] = data.decode(errors="replace")
                return member.with_content(data)
            return self._read(member)
        return member

    def _read(self, member: Member) -> Member:
        """Record an ELF file. A content that cannot be rewound is copied first."""
        content = member.content
        assert content is not None  # noqa: S101 - a regular file
        if peek(member, len(reader.MAGIC)) != reader.MAGIC:
            return member
        member = seekable(member)
        content = member.content
        assert content is not None  # noqa: S101 - as before
        try:
            if found := reader.read(content):
                self._elves[member.path] = found
                self._size += found.weight
                if self._size > LARGE:
                    raise BadTree("it has more programs and libraries than any system")
        except BrokenElf as broken:
            self._broken.append(Missing(member.path, "", reason=str(broken)))
        content.seek(0)
        return member

    def search_paths(self, missing: Missing) -> list[str]:
        """The paths at which the linker searches a missing library, in its order."""
        this = self._elves.get(missing.file)
        if this is None or "/" in missing.library:
            return [missing.library]
        return [f"{folder}/{missing.library}" for folder in (*self._search(missing.file, this), *self._usual())]

    def _lacking(self, path: str, usual: list[str]) -> Iterator[Missing]:
        this = self._elves[path]
        if this.interpreter and not self._file(this.interpreter, this):
            yield Missing(path, this.interpreter)
        for library in (*this.needed, *this.opened):
            found = self._found(library, path, this, usual)
            if found is None:
                yield Missing(path, library)
            elif found.provides and (lacking := [v for v in this.requires.get(library, ()) if v not in found.provides]):
                yield Missing(path, library, tuple(lacking))

    def _found(self, library: str, path: str, this: Elf, usual: list[str]) -> Elf | None:
        if "/" in library:
            return self._file(library, this)
        places = (f"{folder}/{library}" for folder in (*self._search(path, this), *usual))
        if found := next((file for place in places if (file := self._file(place, this))), None):
            return found
        return None if this.interpreter else self._loaded(library, this)

    def _loaded(self, library: str, this: Elf) -> Elf | None:
        """A library of this name anywhere: a library opened at run time may use one that its program has loaded."""
        for path, other in self._elves.items():
            if other.kind == this.kind and library in (other.soname, posixpath.basename(path)):
                return other
        return None

    def _search(self, path: str, this: Elf) -> Iterator[str]:
        """Folders in the order of ld.so(8): RPATH unless RUNPATH is set, LD_LIBRARY_PATH, RUNPATH, defaults."""
        if not this.runpath:
            yield from self._expanded(this.rpath, path)
        yield from self._library_path
        yield from self._expanded(this.runpath, path)
        yield from (f"{folder}/{triplet}" for folder in ("lib", "usr/lib") if (triplet := TRIPLETS.get(this.kind[2])))

    def _usual(self) -> list[str]:
        """The folders that the linker of this tree searches for every file."""
        known = [line.strip() for text in self._texts.values() for line in text.splitlines()] if self._has_cache else []
        musl = next((path for path in (*self._elves, *self._links) if MUSL.search(f"/{path}")), "")
        own = self._texts.get(f"etc/{posixpath.basename(musl).removesuffix('.so.1')}.path", "")
        also = _folders(re.split(r"[:\n]", own)) or MUSL_STANDARD if musl else ()
        return [*_folders(known), *STANDARD, *also]

    def _expanded(self, folders: Iterable[str], path: str) -> list[str]:
        origin = "/" + posixpath.dirname(self._real(path) or path)
        return _folders(re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", origin, folder) for folder in folders)

    def _file(self, path: str, this: Elf) -> Elf | None:
        """The file at a path that can be loaded together with this one."""
        found = self._elves.get(self._real(path) or "")
        return found if found and found.kind == this.kind else None

    def _real(self, path: str) -> str | None:
        """A path with all symbolic links resolved; None for a loop."""
        return real_path(path, self._links, self._names)


def real_path(path: str, links: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """Resolve symbolic `links` in a path, and a hard link (`names`) to the path with the content."""
    found = link_chain(path, links)
    return names.get(found[-1], found[-1]) if found else None


def link_chain(path: str, links: Mapping[str, str]) -> list[str]:
    """The symbolic links on a path, and last the path it resolves to; empty for a loop."""
    done: list[str] = []
    over: list[str] = []
    parts = _parts(path)
    while parts:
        part = parts.pop(0)
        if part == "..":
            del done[-1:]
            continue
        here = "/".join([*done, part])
        if (target := links.get(here)) is None:
            done.append(part)
            continue
        if len(over) == HOPS:
            return []
        over.append(here)
        if target.startswith("/"):
            done = []
        parts = _parts(target) + parts
    return [*over, "/".join(done)]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _folders(names: Iterable[str]) -> list[str]:
    return [folder.strip("/") for folder in names if folder.startswith("/")]
