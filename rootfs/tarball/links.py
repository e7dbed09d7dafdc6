"""Resolve hard links and add missing folders in an index of members, whatever order they came in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from rootfs.system.text import printable
from rootfs.tarball.errors import TarballRefused

FILE, LINK, FOLDER = b"0", b"1", b"5"  # type flags of tar
HOPS = 40  # hard links to hard links
# A row becomes a copy of another one, except for its name.
TAKE_OVER = """
    update members set (kind, mode, uid, gid, mtime, size, link, major, minor, xattrs, start) =
        (select kind, mode, uid, gid, mtime, size, link, major, minor, xattrs, start from members where path = ?)
    where path = ?"""

# A hard link has the attributes of its file, since engines set them again when they unpack the link.
SAME_AS = """
    update members set (link, mode, uid, gid, mtime) = (select path, mode, uid, gid, mtime from members where path = ?)
    where path = ?"""


def resolve_links(index: sqlite3.Connection, most: int) -> None:
    """Resolve the hard links of an index and add missing folders, owned by root.

    A file with several names is stored under the first, and the others are hard links to it; hard links to anything but
    a file become copies of it. Raises TarballRefused where a hard link leads nowhere or to a folder, where a parent is
    no folder, and where there are more members than `most`.
    """
    _resolve(index)
    _rename(index)
    _complete(index, most)


def _resolve(index: sqlite3.Connection) -> None:
    index.execute("create temp table links as select path, link from members where kind = x'31'")
    for path, link in index.execute("select path, link from links"):
        target, kind = _target(index, path, link)
        if kind == FILE:
            index.execute(SAME_AS, (target, path))
        else:
            index.execute(TAKE_OVER, (target, path))


def _target(index: sqlite3.Connection, path: bytes, link: bytes) -> tuple[bytes, bytes]:
    """The target of a hard link, which may lead over other links."""
    for _ in range(HOPS):
        found = index.execute("select kind, link from members where path = ?", (link,)).fetchone()
        if found is None or found[0] == FOLDER:
            why = "a folder" if found else "not there"
            raise TarballRefused.of(_shown(path), f"is a hard link to {_shown(link)}, which is {why}")
        if found[0] != LINK:
            return link, found[0]
        link = found[1]
    raise TarballRefused.of(_shown(path), "is a hard link that leads in a circle")


def _rename(index: sqlite3.Connection) -> None:
    """Store each file with hard links under the first of its names."""
    index.execute("create index targets on members (link) where kind = x'31'")
    index.execute(
        "create temp table firsts as select link as target, min(path) as first from members where kind = x'31'"
        " group by link having min(path) < link"
    )
    for target, first in index.execute("select target, first from firsts"):
        index.execute(TAKE_OVER, (target, first))
        index.execute("update members set link = ? where kind = x'31' and link = ?", (first, target))
        index.execute("update members set kind = x'31', link = ?, size = 0 where path = ?", (first, target))


def _complete(index: sqlite3.Connection, most: int) -> None:
    """Add missing folders, and check that every parent is a folder."""
    index.execute("create temp table made (path blob primary key) without rowid")
    made, last = 0, b""
    for there, (path,) in enumerate(index.execute("select path from members order by path"), 1):
        folder = path.rpartition(b"/")[0]
        if folder != last:
            made += sum(1 for _ in _missing(index, folder, path))
            last = folder
        if there + made > most:
            raise TarballRefused.too_many(most)
    index.execute("insert into members select path, ?, 493, 0, 0, 0, 0, x'', 0, 0, '{}', 0 from made", (FOLDER,))


def _missing(index: sqlite3.Connection, folder: bytes, path: bytes) -> Iterator[bytes]:
    """The missing folders above a path; each is recorded."""
    while folder:
        found = index.execute("select kind from members where path = ?", (folder,)).fetchone()
        if found and found[0] != FOLDER:
            raise TarballRefused.of(_shown(path), f"is below {_shown(folder)}, which is no folder")
        if found or not index.execute("insert or ignore into made values (?)", (folder,)).rowcount:
            return
        yield folder
        folder = folder.rpartition(b"/")[0]


def decode_name(name: bytes) -> str:
    """Decode a name as members have it, independently of the locale."""
    return name.decode(errors="surrogateescape")


def _shown(path: bytes) -> str:
    return printable(decode_name(path))
