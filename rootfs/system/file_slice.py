"""A part of a file as a stream of its own: a member's content in a tar, a tar in a deb."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class FileSlice(io.RawIOBase):
    """A part of an open file as a stream of its own, whatever else is read from the file meanwhile.

    It is `size` bytes from `start`. One that is `owned` closes the file with itself.
    """

    def __init__(self, file: IO[bytes], start: int, size: int, *, owned: bool = False) -> None:
        self._file, self._owned = file, owned
        self._start, self._size, self._at = start, size, 0

    @classmethod
    def of(cls, file: IO[bytes], start: int, size: int) -> io.BufferedReader:
        """The part, buffered; the file stays open when it is closed."""
        return io.BufferedReader(cls(file, start, size))

    @classmethod
    def open(cls, path: Path, start: int, size: int) -> io.BufferedReader:
        """The part of the file at a path, buffered."""
        return io.BufferedReader(cls(path.open("rb", buffering=0), start, size, owned=True), 1 << 16)

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """Any place in it can be gone to."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place that is counted from its own start, from where it is, or from its own end."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, as far as the part goes."""
        wanted = memoryview(buffer)[: max(0, self._size - self._at)]
        done = os.preadv(self._file.fileno(), [wanted], self._start + self._at) if wanted else 0
        self._at += done
        return done

    def close(self) -> None:
        """Close the file too, if it is owned."""
        if self._owned:
            self._file.close()
        super().close()
