"""What every kind of store does with blobs: check one that is there, measure a source, write one to a file."""

from __future__ import annotations

import io
import shutil
from functools import partial
from pathlib import Path
from typing import BinaryIO

from flows.store.store import Store
from flows.store.verified_stream import CHUNK
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.system.atomic_file import atomic_file
from rootfs.system.disk import disk_full


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


def remaining_length(source: Path | BinaryIO) -> int | None:
    """The number of bytes from the source's position to its end; None if it is unknown."""
    if isinstance(source, Path):
        return source.stat().st_size if source.is_file() else None
    if not source.seekable():
        return None
    here = source.tell()
    end = source.seek(0, io.SEEK_END)
    source.seek(here)
    return end - here


def fetch_to_file(store: Store, digest: str, path: Path) -> None:
    """Write the blob to `path` atomically and check it. The file is not synced, as the store still has the blob.

    Raises what the store's `open_blob` does, DiskFull, and OSError where `path` cannot be written.
    """
    with store.open_blob(digest) as stream, atomic_file(path.parent, partial(disk_full, path.parent)) as new:
        shutil.copyfileobj(stream, new, CHUNK)
        new.commit(path)
