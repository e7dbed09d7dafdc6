"""Folders of what can be made again: how it is kept, how it is known, and how much of it stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


def copy(source: Path, path: Path) -> None:
    """Copy a file to `path`, where it is whole or not at all, for all to read.

    It is opened once: ext4 writes to disk at once what was emptied by opening it, when it is closed (ext4(5),
    `auto_da_alloc`), and whoever syncs a file then waits for all of that.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as target, source.open("rb") as content:
            os.fchmod(handle, 0o644)
            shutil.copyfileobj(content, target)
        Path(name).rename(path)
    finally:
        Path(name).unlink(missing_ok=True)


def state_of(path: Path) -> tuple[int, int, int]:
    """What changes whenever a file does. Not its mtime, which whoever writes it may set, and in whole seconds."""
    status = path.stat()
    return status.st_ino, status.st_ctime_ns, status.st_size


def prune(folder: Path, limit: int) -> None:
    """Remove what was not used for longest until `limit` bytes are left, also what somebody left half-written."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another run has removed it
                found.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= limit:
            return
        with contextlib.suppress(OSError):
            Path(path).unlink()
        left -= size
