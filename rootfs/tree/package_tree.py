"""A tree in the making: every member by its path, with the package it came from and where its content is."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from tarfile import DIRTYPE, LNKTYPE, SYMTYPE
from typing import IO

from rootfs.errors import InputError
from rootfs.system.file_slice import FileSlice
from rootfs.system.source_tree import normalized_mode
from rootfs.tree.errors import cannot_place
from rootfs.tree.member import Member, read_headers
from rootfs.tree.order import in_package_order
from rootfs.tree.paths import ALIASES, sort_key, usr_merged_path


@dataclass(frozen=True)
class TreeEntry:
    """A member without its content, the `package` it is of (empty: none), and its content: bytes, or a file's part."""

    member: Member
    package: str = ""
    data: bytes = b""
    file: Path | None = None
    start: int = 0

    @property
    def path(self) -> str:
        """Where it is in the tree."""
        return self.member.path

    def open(self) -> IO[bytes]:
        """Its content as a stream."""
        return FileSlice.open(self.file, self.start, self.member.size) if self.file else BytesIO(self.data)

    def read(self) -> bytes:
        """Its content, which is small."""
        with self.open() as content:
            return content.read()


def entry_from_disk(path: str, file: Path, mode: int | None = None, owner: tuple[int, int] = (0, 0)) -> TreeEntry:
    """A file of the disk as the piece at a path; 0755 where it can be run and no mode is said, else 0644."""
    status = file.stat()
    mode = normalized_mode(status) if mode is None else mode
    member = Member(path, mode=mode, uid=owner[0], gid=owner[1], size=status.st_size)
    return TreeEntry(member, file=file)


@dataclass
class PackageTree:
    """Pieces by path, and where their symbolic links point; `aliased` where folders outside /usr lead into it."""

    pieces: dict[str, TreeEntry] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    aliased: bool = True

    def add(self, piece: TreeEntry) -> None:
        """Take a package's piece in. Raises InputError where another package has the path."""
        if (there := self.pieces.get(piece.path)) is None:
            return self._store(piece)
        if there.member.is_folder and piece.member.is_folder:
            newest = max(there.member.mtime, piece.member.mtime)
            return self._store(replace(there, member=replace(there.member, mtime=newest)))
        if there.member.is_folder or piece.member.is_folder or there.package != piece.package:
            raise InputError(
                f"/{piece.path}: both {there.package} and {piece.package} have it",
                hint="Leave one of the packages out, or name the path in `paths: {exclude: [...]}`.",
            )
        return None

    def put(self, piece: TreeEntry) -> None:
        """Take a piece in, over what is there. Raises InputError where a folder would become something else."""
        there = self.pieces.get(piece.path)
        if there and there.member.is_folder != piece.member.is_folder:
            raise cannot_place(f"/{piece.path}", f"{there.package or 'another file'} has a folder or a file there")
        self._store(piece)

    def write(self, path: str, data: bytes, mtime: int) -> None:
        """Lay a file of this content, which everybody may read."""
        self.put(TreeEntry(Member(path, mtime=mtime, size=len(data)), data=data))

    def link(self, path: str, target: str, mtime: int = 0) -> None:
        """Lay a symbolic link."""
        self.put(TreeEntry(Member(path, kind=SYMTYPE, mode=0o777, link=target, mtime=mtime)))

    def folder(self, path: str, mode: int, owner: tuple[int, int] = (0, 0), mtime: int = 0) -> None:
        """Lay a folder."""
        self.put(TreeEntry(Member(path, kind=DIRTYPE, mode=mode, uid=owner[0], gid=owner[1], mtime=mtime)))

    def standalone(self, piece: TreeEntry) -> TreeEntry:
        """The piece as one that needs no other: the file itself where it is a hard link."""
        if piece.member.kind != LNKTYPE:
            return piece
        file = self.pieces[piece.member.link]
        return replace(file, member=replace(file.member, path=piece.path))

    def entries_below(self, folder: str) -> Iterator[TreeEntry]:
        """All that is in a folder, at any depth, sorted by path."""
        return (self.pieces[path] for path in sorted(self.pieces) if path.startswith(f"{folder}/"))

    def _store(self, piece: TreeEntry) -> None:
        self.links.pop(piece.path, None)
        if is_link(piece):
            self.links[piece.path] = piece.member.link
        self.pieces[piece.path] = piece

    def members(self, packages: Mapping[str, str] | None = None) -> Iterator[Member]:
        """Every member below the folders that lead to it, sorted by `merge.order`.

        `packages` has those of files that are placed together (`rootfs.tree.order`). Folders that nobody named are
        0755. Raises InputError where something is below what is no folder.
        """
        pieces = {**self._parents(), **self.pieces}
        for path in in_package_order(sorted(pieces, key=sort_key), packages or {}):
            piece = pieces[path]
            if not piece.member.is_file:
                yield piece.member
                continue
            with piece.open() as content:
                yield replace(piece.member, content=content)

    def _parents(self) -> dict[str, TreeEntry]:
        """Folders that lead to what is there, and the aliases of those in /usr."""
        found: dict[str, TreeEntry] = {".": TreeEntry(Member(".", kind=DIRTYPE, mode=0o755))}
        for child in self.pieces:
            path = child
            while (path := posixpath.dirname(path)) and path not in found:
                if (there := self.pieces.get(path)) and not there.member.is_folder:
                    raise cannot_place(f"/{child}", f"/{path} is no folder")
                found[path] = TreeEntry(Member(path, kind=DIRTYPE, mode=0o755))
        for alias in aliases() if self.aliased else ():
            if any(path.startswith(f"{alias.link}/") for path in self.pieces):
                found[alias.path] = TreeEntry(alias)
        return found


def aliases() -> list[Member]:
    """The links that folders outside /usr are."""
    return [Member(name, kind=SYMTYPE, mode=0o777, link=f"usr/{name}") for name in ALIASES]


def is_link(piece: TreeEntry) -> bool:
    """Whether it is a symbolic link."""
    return piece.member.kind == SYMTYPE


def usr_merged(member: Member) -> Member:
    """The same member where it is in a tree with just one folder for programs, and one for libraries."""
    link = usr_merged_path(member.link) if member.kind == LNKTYPE else member.link
    return replace(member, path=usr_merged_path(member.path), link=link)


def package_entries(package: str, plain: Path, start: int, size: int) -> Iterator[TreeEntry]:
    """What a package puts into a tree: the members of the tar in this part of its deb."""
    for head, offset in read_headers(FileSlice.open(plain, start, size)):
        member = usr_merged(head)
        if member.path != "." and member.path not in ALIASES:
            yield TreeEntry(member, package, file=plain, start=start + offset)
