"""A blob to a file, out of any store."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from flows.store.base import Store
from flows.store.verified_stream import CHUNK
from rootfs.system.atomic_file import atomic_file
from rootfs.system.disk import disk_full


def fetch(store: Store, digest: str, path: Path) -> None:
    """Write the blob to `path`, whole and checked or not at all; not synced, as the store still has it.

    Raises what the store's `open_blob` does, DiskFull, and OSError where `path` cannot be written.
    """
    with store.open_blob(digest) as stream, atomic_file(path.parent, partial(disk_full, path.parent)) as new:
        shutil.copyfileobj(stream, new, CHUNK)
        new.commit(path)
