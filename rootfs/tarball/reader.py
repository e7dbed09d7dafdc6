"""Read an untrusted tar as a stream of members. Strict wherever tar programs disagree or could be deceived.

`tarfile` parses only single headers here: as a whole it stops silently at a broken header, and reads extended headers
of any size into memory. Names are not checked here: see `sanitize`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, cast

from rootfs.system.text import printable
from rootfs.tarball import pax, sparse
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.pax import BadHeader, Extensions
from rootfs.tarball.sparse import BadMap, ByteStream, Expanded, Extent, StoredContent
from rootfs.tree.member import Member

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
FIELD = 8**11  # bytes: from here on the header's own size field may say anything, and pax says the size
POSIX = b"ustar\0"
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)
OTHERS = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
PAX, PAX_GLOBAL = tarfile.XHDTYPE, tarfile.XGLTYPE
LONG_NAME, LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
LABEL = b"V"  # GNU tar --label: a name of the archive
NO_TAR = "it is no tar archive, plain or in gzip, bzip2, xz or zstd"
EXTENSIONS = (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK, LABEL)


def read_tar(stream: ByteStream, *, largest: int, most: int) -> Iterator[Member]:
    """Yield the members with their names as written; the content of each must be read before the next is requested.

    Raises TarballRefused where the archive is broken, ends early, continues after its end, contradicts itself, or has
    more than `largest` bytes or `most` members; and what reading the stream raises.
    """
    return _Archive(stream, largest, most).members()


class _Archive:
    """The state of one pass."""

    def __init__(self, stream: ByteStream, largest: int, most: int) -> None:
        self._stream, self._largest, self._most = stream, largest, most
        self._count = self._size = 0
        self._is_tar = False
        self._global: dict[str, bytes] = {}

    def members(self) -> Iterator[Member]:
        while (block := self._header()) is not None:
            self._count += 1
            if self._count > self._most:
                raise TarballRefused.too_many(self._most)
            extensions, block = self._extensions(block)
            member, stored = self._member(block, extensions)
            yield member
            self._skip(stored)
        self._check_end()

    def _header(self) -> bytes | None:
        """The next header, None at the end of the archive."""
        block = self._block()
        return None if block == bytes(BLOCK) else block

    def _block(self) -> bytes:
        block = self._stream.read(BLOCK)
        if len(block) < BLOCK:
            raise TarballRefused(self._short if self._is_tar or not block else NO_TAR)
        return block

    @property
    def _short(self) -> str:
        return f"it ends early, in or after its member {self._count}" if self._count else "it is empty"

    def _parsed(self, block: bytes) -> tarfile.TarInfo:
        """Parse one header; the name stays as written."""
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            what = f"the header of its member {self._count} is broken ({error})"
            raise TarballRefused(what if self._is_tar else NO_TAR) from error
        self._is_tar = True
        info.name = _name(block)
        if info.size < 0:
            raise TarballRefused(f"its member {self._count} is of {info.size} bytes")
        return info

    def _extensions(self, block: bytes) -> tuple[Extensions, bytes]:
        """Read the extended headers of the next member, and the member's own header."""
        extensions, seen = Extensions(list(self._global.items())), set[bytes]()
        while (kind := block[156:157]) in EXTENSIONS:
            size = self._parsed(block).size
            if kind in seen or size > pax.LARGEST:
                what = "two of one kind before one member" if kind in seen else f"of {size} bytes"
                raise TarballRefused(f"before its member {self._count} are extended headers {what}")
            seen.add(kind)
            data = self._read_exactly(size + -size % BLOCK)[:size]
            self._extend(extensions, kind, data)
            if (following := self._header()) is None:
                raise TarballRefused("it ends with an extended header, without the member that this is about")
            block = following
        return extensions, block

    def _extend(self, extensions: Extensions, kind: bytes, data: bytes) -> None:
        try:
            if kind == PAX:
                extensions.records += pax.records(data)
            elif kind == PAX_GLOBAL:
                self._global |= pax.global_values(data)
                extensions.records[:0] = self._global.items()
        except BadHeader as error:
            raise TarballRefused(f"its member {self._count} {error}") from error
        if kind == LONG_NAME:
            extensions.path = data.partition(b"\0")[0]
        elif kind == LONG_LINK:
            extensions.link = data.partition(b"\0")[0]

    def _member(self, block: bytes, extensions: Extensions) -> tuple[Member, StoredContent]:
        """The member, and its stored bytes."""
        info = self._parsed(block)
        name = self._name(info.name, extensions.path, extensions.value("GNU.sparse.name") or extensions.value("path"))
        try:
            size = _size(info.size, extensions.number("size"))
            member = Member(
                path=name,
                kind=_kind(block[156:157], name),
                mode=info.mode & 0o7777,
                uid=_first(extensions.number("uid"), info.uid),
                gid=_first(extensions.number("gid"), info.gid),
                mtime=_first(extensions.mtime, int(info.mtime)),
                size=size,
                link=self._name(info.linkname, extensions.link, extensions.value("linkpath")),
                device=(info.devmajor, info.devminor) if info.ischr() or info.isblk() else (0, 0),
                xattrs=extensions.xattrs,
            )
            stored = StoredContent(self._stream, size, printable(name))
            return self._with_content(member, block, extensions, stored), stored
        except (BadHeader, BadMap) as error:
            raise TarballRefused(f"{printable(name)} {error}") from error

    def _with_content(self, member: Member, block: bytes, extensions: Extensions, stored: StoredContent) -> Member:
        if not member.is_file:
            if member.size:
                raise BadHeader(f"is no file and has a content of {member.size} bytes all the same")
            return member
        extents, size = self._map(member, block, extensions, stored)
        self._size += size
        if self._size > self._largest or member.size > self._largest:
            raise TarballRefused.too_large(self._largest)
        if extents is None:
            return replace(member, content=cast(IO[bytes], stored))
        expanded = Expanded(cast(IO[bytes], stored), sparse.check_map(extents, size, stored.left), size)
        return replace(member, size=size, content=cast(IO[bytes], expanded))

    def _map(
        self, member: Member, block: bytes, extensions: Extensions, stored: StoredContent
    ) -> tuple[Sequence[Extent] | None, int]:
        """The extents of a sparse file and its size; for any other file None and its size."""
        if any(extensions.value(key) is not None for key in pax.UNKNOWN_SPARSE):
            raise BadMap("is sparse in a way that is not known here")
        if block[156:157] == tarfile.GNUTYPE_SPARSE:
            return sparse.old_map(block, _number, self._block)
        if not any(key.startswith("GNU.sparse.") for key, _ in extensions.records):
            return None, member.size
        size = extensions.number("GNU.sparse.realsize") or extensions.number("GNU.sparse.size") or 0
        if extensions.number("GNU.sparse.major") == 1:
            return sparse.stored_map(stored.block), size
        return sparse.pax_map(extensions.records), size

    def _name(self, own: str, *longer: bytes | None) -> str:
        """The effective name; two names from extended headers must not differ."""
        names = {name for name in longer if name is not None}
        if len(names) > 1:
            raise TarballRefused(f"its member {self._count} has two names")
        return names.pop().decode(errors="surrogateescape") if names else own

    def _skip(self, stored: StoredContent) -> None:
        padding = -stored.size % BLOCK
        while stored.read(CHUNK):
            pass
        self._read_exactly(padding)

    def _read_exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise TarballRefused(self._short)
        return data

    def _check_end(self) -> None:
        """Check that only empty blocks follow the first empty block, to the end of the stream."""
        while data := self._stream.read(CHUNK):
            if data.count(0) != len(data):
                raise TarballRefused("something follows the end of the archive, such as another one")


def _name(block: bytes) -> str:
    """The name in a header. In its field `prefix` only POSIX's form has the beginning of it; GNU's has times there."""
    fields = [block[:100]] if block[257:263] != POSIX or not block[345] else [block[345:500], block[:100]]
    return b"/".join(field.partition(b"\0")[0] for field in fields).decode(errors="surrogateescape")


def _kind(flag: bytes, name: str) -> bytes:
    """The kind of a type flag; in the oldest archives only a trailing slash marks a folder."""
    if flag in FILES:
        return tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    if flag in OTHERS:
        return flag
    raise BadHeader(f"is of a type that is not known here ({flag!r})")


def _size(own: int, recorded: int | None) -> int:
    """The size from pax, else from the header. Different sizes are refused: programs would read different archives."""
    if recorded is None:
        return own
    if own not in (0, recorded) and recorded < FIELD:
        raise BadHeader(f"has two sizes, {own} and {recorded} bytes")
    return recorded


def _first(recorded: int | None, own: int) -> int:
    return own if recorded is None else recorded


def _number(field: bytes) -> int:
    """A number of the old sparse format, in octal or base 256 as any in a header. Raises BadMap."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise BadMap("has a map of holes with a number that is none") from error
