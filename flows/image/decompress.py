"""A layer as builders and engines hand it out, to the plain tar that it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.image.errors import LayerDamaged
from rootfs.system.compression import CorruptStream, DecompressedStream

CHUNK = 1 << 20


def plain(layer: Path) -> Iterator[bytes]:
    """A layer's tar, in pieces. Raises LayerDamaged."""
    with layer.open("rb") as packed:
        stream = DecompressedStream(packed)
        try:
            while piece := stream.read(CHUNK):
                yield piece
        except CorruptStream as error:
            raise LayerDamaged(layer.name, str(error)) from error
