"""A tree built from packages and files: every entry by its path, with its package and the place of its content."""

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
    """A member without content, its `package` (empty: none), and its content: bytes, or a part of a file."""

    member: Member
    package: str = ""
    data: bytes = b""
    file: Path | None = None
    start: int = 0

    @property
    def path(self) -> str:
        """The path in the tree."""
        return self.member.path

    def open(self) -> IO[bytes]:
        """Its content as a stream."""
        return FileSlice.open(self.file, self.start, self.member.size) if self.file else BytesIO(self.data)

    def read(self) -> bytes:
        """Its content, which is small."""
        with self.open() as content:
            return content.read()


def entry_from_disk(path: str, file: Path, mode: int | None = None) -> TreeEntry:
    """A file of the disk as the entry at a path; the default mode is 0755 for executable files, else 0644."""
    status = file.stat()
    mode = normalized_mode(status) if mode is None else mode
    member = Member(path, mode=mode, size=status.st_size)
    return TreeEntry(member, file=file)


@dataclass
class PackageTree:
    """Entries by path, and the targets of symbolic links; `aliased` where folders such as /bin are links into /usr."""

    entries: dict[str, TreeEntry] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    aliased: bool = True

    def add(self, entry: TreeEntry) -> None:
        """Add an entry of a package. Raises InputError where another package has the path."""
        if (there := self.entries.get(entry.path)) is None:
            return self._store(entry)
        if there.member.is_folder and entry.member.is_folder:
            newest = max(there.member.mtime, entry.member.mtime)
            return self._store(replace(there, member=replace(there.member, mtime=newest)))
        if there.member.is_folder or entry.member.is_folder or there.package != entry.package:
            raise InputError(
                f"/{entry.path}: both {there.package} and {entry.package} have it",
                hint="Leave one of the packages out, or name the path in `paths: {exclude: [...]}`.",
            )
        return None

    def put(self, entry: TreeEntry) -> None:
        """Add or replace an entry. Raises InputError where a folder would become something else."""
        there = self.entries.get(entry.path)
        if there and there.member.is_folder != entry.member.is_folder:
            raise cannot_place(f"/{entry.path}", f"{there.package or 'another file'} has a folder or a file there")
        self._store(entry)

    def write(self, path: str, data: bytes, mtime: int) -> None:
        """Put a file with this content, readable for everybody."""
        self.put(TreeEntry(Member(path, mtime=mtime, size=len(data)), data=data))

    def link(self, path: str, target: str, mtime: int = 0) -> None:
        """Put a symbolic link."""
        self.put(TreeEntry(Member(path, kind=SYMTYPE, mode=0o777, link=target, mtime=mtime)))

    def folder(self, path: str, mode: int, owner: tuple[int, int] = (0, 0), mtime: int = 0) -> None:
        """Put a folder."""
        self.put(TreeEntry(Member(path, kind=DIRTYPE, mode=mode, uid=owner[0], gid=owner[1], mtime=mtime)))

    def standalone(self, entry: TreeEntry) -> TreeEntry:
        """The entry without dependence on others: of a hard link the file itself."""
        if entry.member.kind != LNKTYPE:
            return entry
        file = self.entries[entry.member.link]
        return replace(file, member=replace(file.member, path=entry.path))

    def entries_below(self, folder: str) -> Iterator[TreeEntry]:
        """All entries in a folder, at any depth, sorted by path."""
        return (self.entries[path] for path in sorted(self.entries) if path.startswith(f"{folder}/"))

    def _store(self, entry: TreeEntry) -> None:
        self.links.pop(entry.path, None)
        if is_link(entry):
            self.links[entry.path] = entry.member.link
        self.entries[entry.path] = entry

    def members(self, packages: Mapping[str, str] | None = None) -> Iterator[Member]:
        """Every member after the folders that contain it, sorted by path.

        With `packages`, which has the package of each file, files of one package come together. Folders without an
        entry get mode 0755. Raises InputError where the parent of an entry is no folder.
        """
        entries = {**self._parents(), **self.entries}
        for path in in_package_order(sorted(entries, key=sort_key), packages or {}):
            entry = entries[path]
            if not entry.member.is_file:
                yield entry.member
                continue
            with entry.open() as content:
                yield replace(entry.member, content=content)

    def _parents(self) -> dict[str, TreeEntry]:
        """The folders that contain the entries, and the links into /usr that are used."""
        found: dict[str, TreeEntry] = {".": TreeEntry(Member(".", kind=DIRTYPE, mode=0o755))}
        for child in self.entries:
            path = child
            while (path := posixpath.dirname(path)) and path not in found:
                if (there := self.entries.get(path)) and not there.member.is_folder:
                    raise cannot_place(f"/{child}", f"/{path} is no folder")
                found[path] = TreeEntry(Member(path, kind=DIRTYPE, mode=0o755))
        for alias in aliases() if self.aliased else ():
            if any(path.startswith(f"{alias.link}/") for path in self.entries):
                found[alias.path] = TreeEntry(alias)
        return found


def aliases() -> list[Member]:
    """The links into /usr: /bin, /lib and so on."""
    return [Member(name, kind=SYMTYPE, mode=0o777, link=f"usr/{name}") for name in ALIASES]


def is_link(entry: TreeEntry) -> bool:
    """Whether it is a symbolic link."""
    return entry.member.kind == SYMTYPE


def usr_merged(member: Member) -> Member:
    """The member at its place in a tree with merged /usr."""
    link = usr_merged_path(member.link) if member.kind == LNKTYPE else member.link
    return replace(member, path=usr_merged_path(member.path), link=link)


def package_entries(package: str, plain: Path, start: int, size: int) -> Iterator[TreeEntry]:
    """The entries of a package: the members of the tar in this part of its deb."""
    for head, offset in read_headers(FileSlice.open(plain, start, size)):
        member = usr_merged(head)
        if member.path != "." and member.path not in ALIASES:
            yield TreeEntry(member, package, file=plain, start=start + offset)
