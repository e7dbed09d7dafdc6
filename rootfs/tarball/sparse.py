"""Sparse files in a tar: only the data between holes is stored, with a map of offsets and sizes.

Sources: the manual of GNU tar, "Storing Sparse Files" (pax formats 0.0, 0.1, 1.0) and its tar.h (the old format).
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Protocol

from rootfs.tarball.errors import TarballRefused

BLOCK = tarfile.BLOCKSIZE
MAX_EXTENTS = 1 << 16  # of a file: the most that a map may have
DIGITS = 20  # of a number in a map
OLD = struct.Struct("12s12s")  # one extent in the old format's headers: offset and size

Extent = tuple[int, int]  # offset and size, in bytes
Read = Callable[[], bytes]  # gives the next block of the archive


class BadMap(ValueError):
    """A map is inconsistent."""


def check_map(extents: Sequence[Extent], size: int, stored: int) -> Sequence[Extent]:
    """Check that the extents are in order, inside the file and as large as the stored data. Raises BadMap."""
    end = 0
    for offset, length in extents:
        if offset < end or length < 0:
            raise BadMap("has a map of holes that goes back")
        end = offset + length
    if end > size or sum(length for _, length in extents) != stored:
        raise BadMap("has a map of holes that is of another size than the file")
    return extents


def old_map(header: bytes, number: Callable[[bytes], int], following: Read) -> tuple[list[Extent], int]:
    """The map in a GNU header of type S and the blocks behind it, and the file's real size. Raises BadMap."""
    extents = list(_old_extents(header[386:482], number))
    more = header[482]
    while more:
        block = following()
        extents += _old_extents(block[:504], number)
        more = block[504]
        if len(extents) > MAX_EXTENTS:
            raise BadMap("has a map of holes that does not end")
    return extents, number(header[483:495])


def _old_extents(fields: bytes, number: Callable[[bytes], int]) -> Iterator[Extent]:
    for offset, size in OLD.iter_unpack(fields):
        if size.strip(b"\0 "):
            yield number(offset), number(size)


def pax_map(records: Iterable[tuple[str, bytes]]) -> list[Extent]:
    """The map of formats 0.0, which repeats two keys, and 0.1, which has one list. Raises BadMap."""
    numbers: list[int] = []
    for key, value in records:
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            numbers.append(decimal(value))
        elif key == "GNU.sparse.map" and value:
            numbers = [decimal(each) for each in value.split(b",")]
    return _paired(numbers)


def stored_map(following: Read) -> list[Extent]:
    """The map of format 1.0, in the first blocks of what is stored. Raises BadMap."""
    block = b""

    def line() -> int:
        nonlocal block
        while b"\n" not in block:
            if len(block) > DIGITS:
                raise BadMap("has a map of holes that is no list of numbers")
            block += following()
        value, _, block = block.partition(b"\n")
        return decimal(value)

    count = line()
    if count > MAX_EXTENTS:
        raise BadMap("has a map of holes that does not end")
    return _paired([line() for _ in range(2 * count)])


def decimal(value: bytes) -> int:
    """A number as pax headers have it. Raises BadMap."""
    if not value.isdigit() or len(value) > DIGITS:
        raise BadMap("has a map of holes with a number that is none")
    return int(value)


def _paired(numbers: list[int]) -> list[Extent]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
        raise BadMap("has a map of holes that is no list of pairs")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


class Expanded(io.RawIOBase):
    """The content of the sparse file: the stored data, and zeros for the holes."""

    def __init__(self, stored: IO[bytes], extents: Sequence[Extent], size: int) -> None:
        self._stored, self._size, self._place = stored, size, 0
        self._extents = iter([*extents, (size, 0)])
        self._start, self._length = next(self._extents)

    def readable(self) -> bool:  # noqa: D102 - as in io
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102 - as in io
        while self._place == self._start + self._length and self._place < self._size:
            self._start, self._length = next(self._extents)
        if self._place < self._start:
            data = bytes(min(len(buffer), self._start - self._place))
        else:
            data = self._stored.read(min(len(buffer), self._start + self._length - self._place))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class ByteStream(Protocol):
    """The bytes of the archive; fewer than requested come only at the end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""


class StoredContent(io.RawIOBase):
    """The stored bytes of one member, read from the stream of the archive."""

    def __init__(self, stream: ByteStream, size: int, name: str) -> None:
        self._stream, self.size, self.left, self._name = stream, size, size, name

    def readable(self) -> bool:  # noqa: D102 - as in io
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102 - as in io
        data = self._stream.read(min(len(buffer), self.left))
        if not data and self.left and len(buffer):
            raise TarballRefused(f"it ends early, {self.left} bytes before the end of {self._name}")
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)

    def block(self) -> bytes:
        """The next complete block. Raises BadMap."""
        data = self.read(BLOCK)
        if len(data) < BLOCK:
            raise BadMap("has a map of holes that does not end")
        return data
