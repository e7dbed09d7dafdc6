"""Decompress a tarball of an unknown author: how much memory it takes, and how much comes out, is limited."""

from __future__ import annotations

from typing import BinaryIO

from rootfs.system.compression import CHUNK, CorruptStream, DecompressedStream, Limits
from rootfs.tarball.errors import TarballRefused

MEMORY = 80 << 20  # bytes that decompressing may take: enough for `xz -9`
WINDOW = 64 << 20  # bytes that zstd may look back: enough for `zstd -20` and `--long=26`
FREE = 64 << 20  # bytes that may come out whatever went in
RATIO = 200  # and from there on, how many for each byte; real trees have 2 to 10


class LimitedStream:
    """The plain bytes of a stream, at most `largest` of them.

    Reading raises TarballRefused where the compressed data are broken or end early, and where more comes out than may.
    """

    def __init__(self, source: BinaryIO, largest: int) -> None:
        self._stream, self._largest = DecompressedStream(source, Limits(MEMORY, WINDOW)), largest
        self.compression = self._stream.compression or "tar"

    @property
    def size(self) -> int:
        """The bytes that came out."""
        return self._stream.size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        pieces = bytearray()
        while len(pieces) < size and (data := self._some(size - len(pieces))):
            pieces += data
        return bytes(pieces)

    def _some(self, size: int) -> bytes:
        try:
            data = self._stream.read(min(size, CHUNK))
        except CorruptStream as error:
            raise TarballRefused(f"its {self.compression} data are broken: {error}") from error
        if self.size > self._largest:
            raise TarballRefused.too_large(self._largest)
        if self.size > FREE + RATIO * self._stream.consumed:
            raise TarballRefused(
                f"more than {RATIO} bytes come out for each that went in",
                "No root filesystem is like that. If this one is, pack it again without compression.",
            )
        return data
