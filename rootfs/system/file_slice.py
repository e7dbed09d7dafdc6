"""Read a part of a file as a stream: the content of a member in a tar, or a tar in a deb."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class FileSlice(io.RawIOBase):
    """A stream of `size` bytes from `start` of an open file, independent of the file's position.

    If it is `owned`, the file is closed with the stream.
    """

    def __init__(self, file: IO[bytes], start: int, size: int, *, owned: bool = False) -> None:
        self._file, self._owned = file, owned
        self._start, self._size, self._position = start, size, 0

    @classmethod
    def of(cls, file: IO[bytes], start: int, size: int) -> io.BufferedReader:
        """A buffered stream of a part of an open file, which stays open."""
        return io.BufferedReader(cls(file, start, size))

    @classmethod
    def open(cls, path: Path, start: int, size: int) -> io.BufferedReader:
        """A buffered stream of a part of the file at a path."""
        return io.BufferedReader(cls(path.open("rb", buffering=0), start, size, owned=True), 1 << 16)

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position, relative to the start, the position or the end of the part."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into the buffer, up to the end of the part."""
        target = memoryview(buffer)[: max(0, self._size - self._position)]
        count = os.preadv(self._file.fileno(), [target], self._start + self._position) if target else 0
        self._position += count
        return count

    def close(self) -> None:
        """Close the stream, and the file if it is owned."""
        if self._owned:
            self._file.close()
        super().close()
