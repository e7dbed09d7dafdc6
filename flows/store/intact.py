"""Whether a store has a blob as it was kept: what every store asks before it writes one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from flows.store.base import Store
from rootfs.errors import BlobDamaged, BlobMissing


def is_intact(store: Store, digest: str, size: int | None, *, read: bool) -> bool:
    """Whether the store has a blob of this length (None: any); with `read` also whether its bytes have the digest."""
    if not store.has_blob(digest, size):
        return False
    if read:
        try:
            with store.open_blob(digest):  # leaving the block reads it to its end
                return True
        except (BlobDamaged, BlobMissing):
            return False
    return True


def length(source: Path | BinaryIO) -> int | None:
    """The bytes from where the source stands to its end; None where that cannot be told."""
    if isinstance(source, Path):
        return source.stat().st_size if source.is_file() else None
    if not source.seekable():
        return None
    here = source.tell()
    end = source.seek(0, io.SEEK_END)
    source.seek(here)
    return end - here
