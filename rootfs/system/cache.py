"""Caches: whether a file has changed, and removing what was not used for longest."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path


def file_state(path: Path) -> tuple[int, int, int]:
    """Inode, change time and size: they change when the file does. Programs may set the mtime to any value."""
    status = path.stat()
    return status.st_ino, status.st_ctime_ns, status.st_size


def last_used(path: Path) -> int:
    """When a file of a cache was used last, in nanoseconds: its mtime, which every use sets."""
    return path.stat().st_mtime_ns


def prune(
    folder: Path,
    *,
    pattern: str = "*",
    max_bytes: int | None = None,
    max_entries: int | None = None,
    used: Callable[[Path], int] = last_used,
) -> None:
    """Remove the entries of a cache that were not used for longest, until what is left is within the limits.

    Entries are files or folders; sizes are those of files. Leftovers of killed writers count like other entries.
    """
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another run has removed it
            found.append((used(path), path.stat().st_size, path))
    size, count = sum(each for _, each, _ in found), len(found)
    for _, each, path in sorted(found):
        if (max_bytes is None or size <= max_bytes) and (max_entries is None or count <= max_entries):
            return
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        size, count = size - each, count - 1
