"""Store members on disk that come in any order, and yield them in the order of a layer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from rootfs.elf.machine import HEADER_SIZE, Machine, machine_of
from rootfs.system.disk import disk_full
from rootfs.system.errors import DiskFull
from rootfs.system.file_slice import FileSlice
from rootfs.system.text import printable
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.links import decode_name, resolve_links
from rootfs.tree.member import Member

CHUNK = 1 << 20
ZEROS = bytes(CHUNK)
NAME = 96  # bytes of names on average, since later steps keep some of them in memory
FEW = 1 << 20  # bytes of names that are always allowed
FOLDER = tarfile.DIRTYPE

TABLE = """
create table members (
    path blob primary key, kind blob, mode int, uid int, gid int, mtime int, size int, link blob, major int, minor int,
    xattrs text, start int
) without rowid"""
INSERT = "insert into members values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Staging:
    """The members of one tree in a folder: all contents in one file, the rest in an SQLite index.

    `machines` counts the programs and libraries by the machine that they are for.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._contents = (folder / "contents").open("xb+")
        self._index = sqlite3.connect(folder / "index", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -8000", "temp_store = file"):
            self._index.execute(f"pragma {pragma}")
        self._index.execute(TABLE)
        self._names = self._end = self._root_time = 0
        self.machines = Counter[Machine]()

    def close(self) -> None:
        """Close the files; they stay in the folder."""
        self._index.close()
        self._contents.close()

    def fill(self, members: Iterator[Member], newest: int) -> int:
        """Store all members; returns the newest modification time before `newest`, in seconds since 1970.

        Of folders that come twice the last one counts. Raises TarballRefused for other paths that come twice, for
        parents that are no folders and for hard links to nothing; DiskFull.
        """
        with self._errors():
            self._index.execute("begin")
            for member in members:
                self._add(member)
            self._contents.truncate(self._end)
            resolve_links(self._index, self._most)
            self._index.execute("commit")
            recorded = self._index.execute("select max(mtime) from members where mtime < ?", (newest,)).fetchone()[0]
        return max(recorded or 0, self._root_time if self._root_time < newest else 0)

    def names_of(self, bits: int) -> Iterator[str]:
        """The paths of files and hard links with one of these mode bits."""
        query = "select path from members where kind in (x'30', x'31') and mode & ? order by path"
        return (decode_name(path) for (path,) in self._index.execute(query, (bits,)))

    def top_names(self, folder: str = "") -> set[str]:
        """The names in the root folder, or in one of its folders."""
        start = f"{folder}/" if folder else ""
        names = (decode_name(path) for (path,) in self._index.execute("select path from members"))
        return {name.removeprefix(start).partition("/")[0] for name in names if name.startswith(start)}

    def members(self, epoch: int) -> Iterator[Member]:
        """The members, folders before their contents, sorted by bytes; first the root folder, owned by root."""
        yield Member(".", kind=FOLDER, mode=0o755, mtime=epoch)
        for path, kind, mode, uid, gid, mtime, size, link, major, minor, xattrs, start in self._index.execute(
            "select * from members order by path"
        ):
            yield Member(
                path=decode_name(path),
                kind=kind,
                mode=mode,
                uid=uid,
                gid=gid,
                mtime=mtime,
                size=size,
                link=decode_name(link),
                device=(major, minor),
                xattrs={name: bytes.fromhex(value) for name, value in json.loads(xattrs).items()},
                content=FileSlice.of(self._contents, start, size) if kind == tarfile.REGTYPE else None,
            )

    def _add(self, member: Member) -> None:
        if member.path == ".":
            self._root_time = member.mtime
            return
        path, link = (name.encode(errors="surrogateescape") for name in (member.path, member.link))
        self._names += len(path) + len(link)
        if self._names > max(FEW, NAME * self._most):
            raise TarballRefused(f"its names take {self._names} bytes", "If the tree needs them, raise `most`.")
        xattrs = json.dumps({name: value.hex() for name, value in sorted(member.xattrs.items())})
        numbers = member.mode, member.uid, member.gid, member.mtime, member.size
        row = (path, member.kind, *numbers, link, *member.device, xattrs, self._end)
        try:
            self._index.execute(INSERT, row)
        except sqlite3.IntegrityError:
            self._replace_folder(row)
        if member.is_file:
            self._store_content(member)

    def _replace_folder(self, row: tuple[object, ...]) -> None:
        """Replace a folder that is there already; refuse any other path."""
        [kind] = self._index.execute("select kind from members where path = ?", row[:1]).fetchone()
        if not kind == row[1] == FOLDER:
            raise TarballRefused.of(printable(decode_name(cast(bytes, row[0]))), "is there twice")
        self._index.execute(INSERT.replace("insert", "replace"), row)

    def _store_content(self, member: Member) -> None:
        """Append the content to the file of contents; zeros become holes."""
        head = b""
        while member.content and (data := member.content.read(CHUNK)):
            head = head or data[:HEADER_SIZE]
            if data != ZEROS[: len(data)]:
                self._contents.seek(self._end)
                self._contents.write(data)
            self._end += len(data)
        if kind := machine_of(head):
            self.machines[kind] += 1

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with disk_full(self._folder):
                yield
                self._contents.flush()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFull(self._folder) from error
            raise
