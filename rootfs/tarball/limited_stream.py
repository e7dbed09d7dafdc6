"""Decompress an untrusted tarball with limits on memory and on the size of the output."""

from __future__ import annotations

from typing import BinaryIO

from rootfs.system.decompression import CHUNK, CorruptStream, DecompressedStream, DecompressionLimits
from rootfs.tarball.errors import TarballRefused

MEMORY = 80 << 20  # bytes of memory for decompression: enough for `xz -9`
WINDOW = 64 << 20  # bytes of the zstd window: enough for `zstd -20` and `--long=26`
FREE = 64 << 20  # bytes of output that are always allowed
RATIO = 200  # beyond that, allowed bytes of output for each byte of input; real trees have 2 to 10


class LimitedStream:
    """The decompressed bytes of a stream, at most `largest`.

    Reading raises TarballRefused where the data are broken or end early, and where a limit is exceeded.
    """

    def __init__(self, source: BinaryIO, largest: int) -> None:
        self._stream, self._largest = DecompressedStream(source, DecompressionLimits(MEMORY, WINDOW)), largest
        self.compression = self._stream.compression or "tar"

    @property
    def size(self) -> int:
        """The number of decompressed bytes so far."""
        return self._stream.size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        chunks = bytearray()
        while len(chunks) < size and (data := self._some(size - len(chunks))):
            chunks += data
        return bytes(chunks)

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
