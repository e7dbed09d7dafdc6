"""A layer as builders and engines hand it out, to the plain tar that it is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from flows.image.errors import LayerDamaged

CHUNK = 1 << 20
ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"  # RFC 8878, 3.1.1; RFC 1952, 2.3.1


def plain(layer: Path) -> Iterator[bytes]:
    """A layer's tar, in pieces. Raises LayerDamaged."""
    with layer.open("rb") as packed:
        try:
            stream = _opened(packed)
            while piece := stream.read(CHUNK):
                yield piece
        except (zstandard.ZstdError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise LayerDamaged(layer.name, str(error)) from error


def _opened(packed: IO[bytes]) -> IO[bytes]:
    """What is in it, by what it begins with."""
    start = packed.read(4)
    packed.seek(0)
    if start == ZSTD:
        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))
    return cast(IO[bytes], gzip.GzipFile(fileobj=packed)) if start[:2] == GZIP else packed
