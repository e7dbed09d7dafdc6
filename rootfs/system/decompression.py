"""Open a compressed stream: gzip, bzip2, xz, zstd or plain, as its first bytes say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Protocol, cast

import zstandard

CHUNK = 1 << 16
BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class CorruptStream(Exception):
    """Compressed data are broken, or end early."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none only at the end."""


class Decompressor(Protocol):
    """Decompresses a stream that is handed to it in chunks. `eof`, where there is one, says that its end was seen."""

    def decompress(self, data: bytes, /) -> bytes:
        """What comes out of the next bytes."""


@dataclass(frozen=True)
class DecompressionLimits:
    """How many bytes decompressing may take in memory (xz), and may look back (zstd). None: what the library allows."""

    memory: int | None = None
    window: int = 0


class DecompressedStream:
    """The plain bytes of a stream, and its `compression`: gzip, bzip2, xz, zstd, or empty for none.

    `size` counts the bytes that came out. zstd reports no error where the data end inside a frame, unless nothing came
    out at all: compare digests where that counts.
    """

    def __init__(self, source: Readable, limits: DecompressionLimits = DecompressionLimits()) -> None:
        self._source, self.size = _Counted(source), 0
        packed: io.BufferedReader = io.BufferedReader(self._source, CHUNK)
        self.compression, opener = _kind(packed.peek(6)[:6])
        self._stream = opener(packed, limits)

    @property
    def consumed(self) -> int:
        """The bytes that went in."""
        return self._source.size

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none only at the end. Raises CorruptStream and the OSErrors of the source."""
        try:
            data = self._stream.read(size)
        except (*BROKEN, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the source's, not one of broken data
                raise
            raise CorruptStream(str(error)) from error
        if not (data or self.size) and self.compression:
            raise CorruptStream("nothing comes out")
        self.size += len(data)
        return data


def is_compressed(start: bytes) -> bool:
    """Whether data that begin so are compressed in one of these forms."""
    return bool(_kind(start)[0])


def decompressor(compression: str) -> Decompressor:
    """A new decompressor of gzip, xz, zstd, or, for an empty name, of plain bytes. Its errors are those in BROKEN."""
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    if compression == "xz":
        return lzma.LZMADecompressor()
    return zstandard.ZstdDecompressor().decompressobj() if compression == "zstd" else _Plain()


class _Plain:
    def decompress(self, data: bytes, /) -> bytes:
        return data


class _FrameDecompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Counted(io.RawIOBase):
    """Counts the bytes that are read from a stream."""

    def __init__(self, source: Readable) -> None:
        self._source, self.size = source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        return len(data)


class _Frames(io.RawIOBase):
    """Compressed streams in sequence, perhaps with zeros between them (the .xz file format, 2.2)."""

    def __init__(self, source: io.BufferedReader, new: Callable[[], _FrameDecompressor]) -> None:
        self._source, self._new, self._now = source, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            chunk = b""
            if self._now.eof:
                if not (chunk := self._following()):
                    return 0
                self._now = self._new()
            elif self._now.needs_input and not (chunk := self._source.read(CHUNK)):
                raise EOFError("they end early")
            if data := self._now.decompress(chunk, len(buffer)):
                buffer[: len(data)] = data
                return len(data)

    def _following(self) -> bytes:
        """The beginning of the next stream; nothing where this was the last."""
        rest = self._now.unused_data.lstrip(b"\0")
        while not rest and (data := self._source.read(CHUNK)):
            rest = data.lstrip(b"\0")
        return rest


def _gzip(packed: io.BufferedReader, _: DecompressionLimits) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=packed))


def _bzip2(packed: io.BufferedReader, _: DecompressionLimits) -> BinaryIO:
    return io.BufferedReader(_Frames(packed, bz2.BZ2Decompressor), CHUNK)


def _xz(packed: io.BufferedReader, limits: DecompressionLimits) -> BinaryIO:
    new = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=limits.memory)
    return io.BufferedReader(_Frames(packed, new), CHUNK)


def _zstd(packed: io.BufferedReader, limits: DecompressionLimits) -> BinaryIO:
    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.window)
    return cast(BinaryIO, decompressor.stream_reader(packed, read_across_frames=True))


def _plain(packed: io.BufferedReader, _: DecompressionLimits) -> BinaryIO:
    return packed


def _kind(start: bytes) -> tuple[str, Callable[[io.BufferedReader, DecompressionLimits], BinaryIO]]:
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
    return "", _plain
