"""What holds a tree together, in an index of its members: hard links and folders, whatever order they came in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from rootfs.system.text import printable
from rootfs.tarball.errors import TarballRefused

FILE, LINK, FOLDER = b"0", b"1", b"5"  # type flags of tar
HOPS = 40  # hard links to hard links
# A row that becomes another one but for its name.
TAKE_OVER = """
    update members set (kind, mode, uid, gid, mtime, size, link, major, minor, xattrs, start) =
        (select kind, mode, uid, gid, mtime, size, link, major, minor, xattrs, start from members where path = ?)
    where path = ?"""

# A hard link has what its file has: engines give it to the file once more.
SAME_AS = """
    update members set (link, mode, uid, gid, mtime) = (select path, mode, uid, gid, mtime from members where path = ?)
    where path = ?"""


def resolve_links(index: sqlite3.Connection, most: int) -> None:
    """Make the hard links and folders of an index what they are in a layer.

    A file with several names is there under the first, and the others are hard links to that; hard links to anything
    but a file become what they are links to. Folders that are missing are added, root's own. Raises TarballRefused
    where a hard link leads nowhere or to a folder, something is below what is no folder, or it is more than `most`.
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
    """What a hard link leads to, over others perhaps."""
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
    """Give each file with hard links the first of all its names."""
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
    """See that everything is below a folder; add those that are missing."""
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
    """Folders above a path that nothing has named yet, noted as they come."""
    while folder:
        found = index.execute("select kind from members where path = ?", (folder,)).fetchone()
        if found and found[0] != FOLDER:
            raise TarballRefused.of(_shown(path), f"is below {_shown(folder)}, which is no folder")
        if found or not index.execute("insert or ignore into made values (?)", (folder,)).rowcount:
            return
        yield folder
        folder = folder.rpartition(b"/")[0]


def decode_name(name: bytes) -> str:
    """A name as members have it, whatever the language of this process."""
    return name.decode(errors="surrogateescape")


def _shown(path: bytes) -> str:
    return printable(decode_name(path))
