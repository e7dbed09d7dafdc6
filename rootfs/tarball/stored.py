"""What a tar has stored for one member, read out of the stream that the tar is."""

from __future__ import annotations

import io
import tarfile
from typing import Protocol

from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.sparse import BadMap

BLOCK = tarfile.BLOCKSIZE


class Plain(Protocol):
    """The bytes of the archive, of which fewer come than are asked for only at the end."""

    def read(self, size: int, /) -> bytes:
        """The next ones."""


class Stored(io.RawIOBase):
    """What the archive has stored for one member."""

    def __init__(self, stream: Plain, size: int, name: str) -> None:
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
        """The next block, of which nothing may be missing. Raises BadMap."""
        data = self.read(BLOCK)
        if len(data) < BLOCK:
            raise BadMap("has a map of holes that does not end")
        return data
