"""A folder in memory for what is thrown away: where a tmpfs has room, and never more than half of what is free."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from flows.runtime.workdir import work_folder
from rootfs.lock.lock import Lock

UNPACKED = 16  # bytes that a tree and the ways to it take for each of its debs (measured: 14.1 on minbase)
MOUNTS = Path("/proc/self/mountinfo")
AVAILABLE = Path("/proc/meminfo")
# What a container may use: control groups of version 2 and 1, as a container sees its own.
LIMITS = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]


def needed(lock: Lock, below: int = 0) -> int:
    """Bytes that the work on a tree takes at most, of these packages and of layers that have so many bytes."""
    return UNPACKED * (below + sum(package.size for package in lock.packages))


def has_room(folder: Path | None, size: int) -> bool:
    """Whether the folder is a tmpfs, and `size` bytes are at most half of what is free there and in memory."""
    if folder is None or size == 0 or not _is_tmpfs(folder):
        return False
    there = os.statvfs(folder)
    return size <= min(there.f_bavail * there.f_frsize, _free()) // 2


@contextlib.contextmanager
def roomy_folder(memory: Path | None, size: int, folder: Path, run_id: str) -> Iterator[Path]:
    """A run's folder in `memory` for the block where there is room for `size` bytes, else `folder`.

    Raises MachineError.
    """
    if not has_room(memory, size):
        yield folder
    else:
        assert memory is not None  # noqa: S101 - it has room
        with work_folder(memory, run_id) as place:
            yield place


def _is_tmpfs(folder: Path) -> bool:
    """Whether a tmpfs is mounted just there (proc(5), mountinfo: the type comes after a lone dash)."""
    lines = [line.split() for line in MOUNTS.read_text().splitlines()]
    return any(line[4] == str(folder) and line[line.index("-") + 1] == "tmpfs" for line in lines)


def _free() -> int:
    """Bytes of memory that can be had without swapping."""
    fields = dict(line.split(":", 1) for line in AVAILABLE.read_text().splitlines())
    free = [int(fields["MemAvailable"].split()[0]) * 1024]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such version here; "max" is no limit
            free.append(int(path.read_text()))
    return min(free)
