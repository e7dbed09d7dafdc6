# ruff: noqa: PTH115 - a tree has many files, and each would be a Path
"""The members of a root filesystem as a stream: read from a tar or from a folder, in one deterministic order.

Every later step (filter, normalize, pack) is a function from members to members. So setting owners needs no root, a
tree of any size needs little memory, and a test needs only a list.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BufferedReader, BytesIO, FileIO
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from rootfs.errors import BuildError
from rootfs.process.errors import setting_hint
from rootfs.system.file_slice import FileSlice
from rootfs.tree.errors import BadTree
from rootfs.tree.order import in_package_order, packages_of

MAX_PATH, MAX_NAME = 4096, 256  # bytes that Linux takes, with the NUL or slash at the end
READ_AT_ONCE = 1 << 20  # bytes: smaller contents are read at once
COPY_IN_MEMORY = 16 << 20  # bytes of a copy that stay in memory; more goes to a file
CHUNK = 1 << 20

XATTR = "SCHILY.xattr."  # GNU tar's and star's pax keyword for extended attributes


@dataclass(frozen=True, slots=True)
class Member:
    """One file, folder, link or device of a tree.

    `path` is relative, without a leading `./` or a trailing slash, undecodable bytes as surrogates; the tree's root is
    `"."`. `kind` is the tar type flag. `link` is a symbolic link's target as written, or a hard link's path in the
    tree. `content` is read once, in order, before the next member is asked for.
    """

    path: str
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    content: IO[bytes] | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == tarfile.REGTYPE

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == tarfile.DIRTYPE

    def with_content(self, data: bytes) -> Member:
        """The same member with other content."""
        return replace(self, size=len(data), content=BytesIO(data))


Members = Iterable[Member]


def limit_size(members: Members, most: int) -> Iterator[Member]:
    """The same members. Raises BuildError when all files together have more than `most` bytes."""
    left = most
    for member in members:
        left -= member.size
        if left < 0:
            raise BuildError(
                f"the files of the tree have more than {most >> 20} MiB; the limit was reached at {member.path}",
                hint=f"If the tree needs more, raise {setting_hint('sandbox_disk')}.",
            )
        yield member


def from_tar(stream: IO[bytes]) -> Iterator[Member]:
    """Read the members of an uncompressed tar from a stream.

    Raises BadTree where the stream is not a tar or ends in the middle of one.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20, errors="surrogateescape") as archive:
            for info in archive:
                yield _from_info(archive, info)
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has read: a leak in a stream
    except tarfile.TarError as error:
        raise BadTree(f"the tar of the tree cannot be read: {error}") from error


def read_headers(tar: IO[bytes]) -> Iterator[tuple[Member, int]]:
    """Read the members of an uncompressed tar in a file, without contents, each with the offset of its content.

    Raises BadTree.
    """
    try:
        with tarfile.open(fileobj=tar, mode="r:", errors="surrogateescape") as archive:
            for info in archive:
                yield _head(info), info.offset_data
                archive.members = []  # type: ignore[attr-defined]  # as above
    except tarfile.TarError as error:
        raise BadTree(f"a layer cannot be read: {error}") from error


def _from_info(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return replace(_head(info), content=archive.extractfile(info) if info.isreg() else None)


def _head(info: tarfile.TarInfo) -> Member:
    kind = tarfile.REGTYPE if info.isreg() else info.type
    return Member(
        path=_relative(info.name),
        kind=kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime=int(info.mtime),
        size=info.size if kind == tarfile.REGTYPE else 0,
        link=_relative(info.linkname) if kind == tarfile.LNKTYPE else info.linkname,
        device=(info.devmajor, info.devminor) if info.isdev() else (0, 0),
        xattrs={
            name[len(XATTR) :]: value.encode(errors="surrogateescape")
            for name, value in info.pax_headers.items()
            if name.startswith(XATTR)
        },
    )


def _relative(name: str) -> str:
    path = name.removeprefix("./").strip("/")
    return path or "."


def from_tree(tree: Path) -> Iterator[Member]:
    """Read the members of a folder: each folder before its contents, the entries of a folder sorted by bytes.

    Files of one package come together (`order.in_package_order`). A file with several names is stored under the first
    name, the others are hard links to it. Sockets are left out, as tar does.
    """
    seen: dict[tuple[int, int], str] = {}
    for path in in_package_order(chain(["."], _walk(tree)), packages_of(tree)):
        place = f"{tree}/{path}"
        status = os.lstat(place)
        if stat.S_ISSOCK(status.st_mode):
            continue
        kind, link = _kind(place, path, status, seen)
        if kind == tarfile.REGTYPE:
            with _content(place, status.st_size) as content:
                yield _from_status(place, path, status, kind, link, content)
        else:
            yield _from_status(place, path, status, kind, link, None)


def _walk(tree: Path) -> Iterator[str]:
    """All paths in a folder, each folder before its contents. Raises BadTree for one that is too deep.

    Not recursive: a tree may be deeper than Python's stack.
    """
    waiting = _entries(tree, "")
    while waiting:
        path, is_folder = waiting.pop()
        yield path
        if is_folder:
            waiting += _entries(tree, f"{path}/")


def _entries(tree: Path, folder: str) -> list[tuple[str, bool]]:
    """The paths in a folder, in reverse order, and which are folders."""
    place = f"{tree}/{folder}"
    if len(os.fsencode(place)) + MAX_NAME >= MAX_PATH:
        raise BadTree(f"the folders of the tree are nested too deeply: {folder[:60]}…")
    with os.scandir(place) as entries:
        found = [(os.fsencode(each.name), each.name, each.is_dir(follow_symlinks=False)) for each in entries]
    return [(f"{folder}{name}", is_folder) for _, name, is_folder in sorted(found, reverse=True)]


KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def _kind(place: str, path: str, status: os.stat_result, seen: dict[tuple[int, int], str]) -> tuple[bytes, str]:
    """The tar type flag and the link target. Further names of a file that was `seen` are hard links to the first."""
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    if kind == tarfile.SYMTYPE:
        return kind, os.readlink(place)
    if kind != tarfile.DIRTYPE and status.st_nlink > 1:
        first = seen.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            return tarfile.LNKTYPE, first
    return kind, ""


def _content(place: str, size: int) -> IO[bytes]:
    """Open a file's content. Most files are small, and reading them at once is faster than Python's buffered reader."""
    if size > READ_AT_ONCE:
        return open(place, "rb")  # noqa: PTH123
    with FileIO(place) as file:
        return BytesIO(file.readall())


def _from_status(
    place: str, path: str, status: os.stat_result, kind: bytes, link: str, content: IO[bytes] | None
) -> Member:
    is_device = kind in (tarfile.CHRTYPE, tarfile.BLKTYPE)
    return Member(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=int(status.st_mtime),
        size=status.st_size if kind == tarfile.REGTYPE else 0,
        link=link,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
        xattrs={} if kind == tarfile.LNKTYPE else _xattrs(place),
        content=content,
    )


def _xattrs(place: str) -> dict[str, bytes]:
    names = os.listxattr(place, follow_symlinks=False)
    return {name: os.getxattr(place, name, follow_symlinks=False) for name in sorted(names)}


def peek(member: Member, size: int) -> bytes:
    """The first bytes of a file, without consuming them; empty where its content does not allow it."""
    content = member.content
    if isinstance(content, BytesIO):
        return content.getvalue()[:size]
    return content.peek(size)[:size] if isinstance(content, BufferedReader) else b""


def read_whole(member: Member) -> tuple[Member, bytes]:
    """The content of a small file, and the member with all of it."""
    content = member.content
    if isinstance(content, BytesIO) and content.tell() == 0:
        return member, content.getvalue()
    data = content.read() if content else b""
    return member.with_content(data), data


def seekable(member: Member) -> Member:
    """The member with a content that can be rewound by `seek(0)`: its own, or a copy that the caller closes."""
    content = member.content
    assert content is not None  # noqa: S101 - a regular file
    return member if _is_seekable(content) else replace(member, content=_copied(content, member.size))


def close_copy(copy: Member, member: Member) -> None:
    """Close the copy that `seekable` has made of the member's content, if any; the member's own content stays open."""
    if copy.content and copy.content is not member.content:
        copy.content.close()


def _is_seekable(content: IO[bytes]) -> bool:
    """Whether the content is a seekable file at its beginning."""
    if isinstance(content, SpooledTemporaryFile):
        return content.tell() == 0
    return isinstance(getattr(content, "raw", content), FileIO | BytesIO | FileSlice) and content.tell() == 0


def _copied(content: IO[bytes], size: int) -> IO[bytes]:
    copy = SpooledTemporaryFile(COPY_IN_MEMORY)  # noqa: SIM115 - closed when the member has passed
    while size and (data := content.read(min(size, CHUNK))):
        copy.write(data)
        size -= len(data)
    copy.seek(0)
    return cast(IO[bytes], copy)
