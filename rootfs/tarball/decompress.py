"""A compressed stream to a plain one: its content says which compression it is; how much may come out is limited."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

import zstandard

from rootfs.errors import TarballRefused

CHUNK = 1 << 16
MEMORY = 80 << 20  # bytes that unpacking may take: enough for `xz -9`
WINDOW = 64 << 20  # bytes that zstd may look back: enough for `zstd -20` and `--long=26`
FREE = 64 << 20  # bytes that may come out whatever went in
RATIO = 200  # and from there on, how many for each byte; real trees have 2 to 10

BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Unpacked:
    """The plain bytes of a stream, at most `largest` of them.

    Reading raises TarballRefused where the compressed data are broken or end early, and where more comes out than may.
    """

    def __init__(self, source: BinaryIO, largest: int) -> None:
        self._taken, self._largest, self.size = _Counted(source), largest, 0
        packed: io.BufferedReader = io.BufferedReader(self._taken, CHUNK)
        self.compression, opened = _kind(packed.peek(6)[:6])
        self._stream = opened(packed)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        pieces = bytearray()
        while len(pieces) < size and (data := self._some(size - len(pieces))):
            pieces += data
        return bytes(pieces)

    def _some(self, size: int) -> bytes:
        try:
            data = self._stream.read(min(size, CHUNK))
        except (*BROKEN, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's, not one that says what is wrong
                raise
            raise TarballRefused(f"its {self.compression} data are broken: {error}") from error
        if not (data or self.size) and self.compression != "tar":  # zstd alone says nothing where it ends early
            raise TarballRefused(f"its {self.compression} data are broken: nothing comes out")
        self.size += len(data)
        if self.size > self._largest:
            raise TarballRefused.too_large(self._largest)
        if self.size > FREE + RATIO * self._taken.size:
            raise TarballRefused(
                f"more than {RATIO} bytes come out for each that went in",
                "No root filesystem is like that. Pack it again without compression if it is meant to be so.",
            )
        return data


class _Counted(io.RawIOBase):
    """A stream that knows how much of it was read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self.size = source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        return len(data)


class _Frames(io.RawIOBase):
    """Compressed streams one behind the other, perhaps with zeros between them (the .xz file format, 2.2)."""

    def __init__(self, source: io.BufferedReader, new: Callable[[], _Decompressor]) -> None:
        self._source, self._new, self._now = source, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            given = b""
            if self._now.eof:
                if not (given := self._following()):
                    return 0
                self._now = self._new()
            elif self._now.needs_input and not (given := self._source.read(CHUNK)):
                raise EOFError("they end early")
            if data := self._now.decompress(given, len(buffer)):
                buffer[: len(data)] = data
                return len(data)

    def _following(self) -> bytes:
        """The beginning of the next stream; nothing where this was the last."""
        rest = self._now.unused_data.lstrip(b"\0")
        while not rest and (data := self._source.read(CHUNK)):
            rest = data.lstrip(b"\0")
        return rest


def _gzip(packed: io.BufferedReader) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=packed))


def _bzip2(packed: io.BufferedReader) -> BinaryIO:
    return io.BufferedReader(_Frames(packed, bz2.BZ2Decompressor), CHUNK)


def _xz(packed: io.BufferedReader) -> BinaryIO:
    return io.BufferedReader(_Frames(packed, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)), CHUNK)


def _zstd(packed: io.BufferedReader) -> BinaryIO:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    return cast(BinaryIO, decompressor.stream_reader(packed, read_across_frames=True))


def _kind(start: bytes) -> tuple[str, Callable[[io.BufferedReader], BinaryIO]]:
    """The compression's name, and what opens it."""
    if start.startswith(b"\x1f\x8b"):
        return "gzip", _gzip
    if start.startswith(b"BZh"):
        return "bzip2", _bzip2
    if start.startswith(b"\xfd7zXZ\0"):
        return "xz", _xz
    # RFC 8878, 3.1: a frame, or one that is skipped, which pzstd begins with.
    if start.startswith(b"\x28\xb5\x2f\xfd") or (start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == 5):
        return "zstd", _zstd
    return "tar", lambda packed: packed
