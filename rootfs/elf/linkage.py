"""Whether each program and library of a tree finds there what it is linked with, as ld.so(8) looks for it."""

from __future__ import annotations

import io
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from tarfile import LNKTYPE, SYMTYPE
from typing import IO

from rootfs.elf import reader
from rootfs.elf.machine import Machine
from rootfs.elf.reader import BrokenElf, Elf
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, Members, close_copy, seekable

CACHE = "etc/ld.so.cache"  # without it the linker does not know of the folders that ld.so.conf names
CONF = re.compile(r"etc/ld\.so\.conf(\.d/[^/]+\.conf)?|etc/ld-musl-[^/]+\.path")
MUSL = re.compile(r"/ld-musl-[^/]+\.so\.1$")
STANDARD = ("lib", "usr/lib", "lib64", "usr/lib64", "lib32", "usr/lib32", "libx32", "usr/libx32")
MUSL_STANDARD = ("lib", "usr/local/lib", "usr/lib")
# Debian's linker looks into the folders of its own architecture without being told (multiarch).
TRIPLETS = {
    3: "i386-linux-gnu",
    22: "s390x-linux-gnu",
    21: "powerpc64le-linux-gnu",
    40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu",
    183: "aarch64-linux-gnu",
    243: "riscv64-linux-gnu",
}  # by e_machine
HOPS = 40  # symbolic links on one way, as the kernel has it (path_resolution(7))
SMALL = 1 << 20  # bytes of configuration files that are read
LARGE = 64 << 20  # bytes that what is noted of all programs takes: several times that of a full desktop


@dataclass(frozen=True)
class Missing:
    """A file that does not find a library, or not all versions of its symbols; `reason` where it cannot be read."""

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
            return f"/{self.file} is broken: {self.reason}"
        what = f"{', '.join(self.versions)} of {self.library}" if self.versions else self.library
        return f"/{self.file} needs {what}"


class LinkageCheck:
    """A bystander of the stream: notes what each file needs while the members go on to the packer."""

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
        """The same members; the closure is complete when the stream has ended."""
        for member in members:
            yield (noted := self.observe_member(member))
            close_copy(noted, member)

    @property
    def size(self) -> int:
        """How many programs and libraries there are."""
        return len(self._elves)

    @property
    def machines(self) -> Counter[Machine]:
        """How many of them there are for each machine."""
        return Counter(each.kind for each in self._elves.values())

    def missing(self) -> list[Missing]:
        """What is not found, by file."""
        usual = self._usual()
        found = [each for path in self._elves for each in self._lacking(path, usual)]
        return sorted([*self._broken, *found], key=lambda each: (each.file, each.library))

    def observe_member(self, member: Member) -> Member:
        """Note one member, and return it with all its content."""
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
        """Note what an ELF file says; one that comes out of a tar, in which nothing goes back, is copied for that."""
        content = member.content
        assert content is not None  # noqa: S101 - a regular file
        if _start(content) != reader.MAGIC:
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
        """Where the linker looks for what a file lacks, the first place first."""
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
        """A library of this name wherever it is: what is opened at run time may find it loaded by whoever opens it."""
        for path, other in self._elves.items():
            if other.kind == this.kind and library in (other.soname, posixpath.basename(path)):
                return other
        return None

    def _search(self, path: str, this: Elf) -> Iterator[str]:
        """Folders in the order of ld.so(8): RPATH, but not beside RUNPATH; LD_LIBRARY_PATH; RUNPATH; the usual ones."""
        if not this.runpath:
            yield from self._expanded(this.rpath, path)
        yield from self._library_path
        yield from self._expanded(this.runpath, path)
        yield from (f"{folder}/{triplet}" for folder in ("lib", "usr/lib") if (triplet := TRIPLETS.get(this.kind[2])))

    def _usual(self) -> list[str]:
        """The folders that the linker of this tree looks into for every file."""
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
        """A path without symbolic links, None where they lead nowhere."""
        return real_path(path, self._links, self._names)


def real_path(path: str, links: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """A path of a tree without symbolic `links`, and of hard links (`names`) the one with the content."""
    found = link_chain(path, links)
    return names.get(found[-1], found[-1]) if found else None


def link_chain(path: str, links: Mapping[str, str]) -> list[str]:
    """The symbolic links that a path leads over, and last where it ends; nothing where it never does."""
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


def _start(content: IO[bytes]) -> bytes:
    """The first bytes of a content, which stay in it."""
    if isinstance(content, io.BytesIO):
        return content.getvalue()[: len(reader.MAGIC)]
    return content.peek(len(reader.MAGIC))[: len(reader.MAGIC)] if isinstance(content, io.BufferedReader) else b""


def _folders(said: Iterable[str]) -> list[str]:
    return [folder.strip("/") for folder in said if folder.startswith("/")]
