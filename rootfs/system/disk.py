"""Report full disks: convert their errors to DiskFull, which names the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rootfs.errors import BaseforgeError
from rootfs.system.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)
LITTLE = 64 << 10  # bytes; too few for a database or a log to grow
TEXTS = tuple(os.strerror(number) for number in FULL)  # what programs print


@contextlib.contextmanager
def disk_full(folder: Path) -> Iterator[None]:
    """Convert OSErrors of a full disk or quota to DiskFull of this folder."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(folder) from error
        raise


@contextlib.contextmanager
def program_disk_full(folder: Path) -> Iterator[None]:
    """Convert errors of a full disk to DiskFull, also those that programs print."""
    try:
        yield
    except (BaseforgeError, OSError) as error:
        if reports_disk_full(error.output if isinstance(error, BaseforgeError) else str(error)):
            raise DiskFull(least_free(folder, Path(tempfile.gettempdir()))) from error
        raise


@contextlib.contextmanager
def any_disk_full(*folders: Path) -> Iterator[None]:
    """Convert OSErrors of a full disk to DiskFull, as `as_disk_full` does."""
    try:
        yield
    except OSError as error:
        if full := as_disk_full(error, *folders):
            raise full from error
        raise


def as_disk_full(error: Exception, *folders: Path) -> DiskFull | None:
    """DiskFull for the error of a full disk, None for any other error.

    It names the folder of the error's file, or else the one of these folders with the least free space.
    """
    if not isinstance(error, OSError) or not (error.errno in FULL or reports_disk_full(str(error))):
        return None
    return DiskFull(Path(os.fsdecode(error.filename)).parent if error.filename else least_free(*folders))


def reports_disk_full(text: str) -> bool:
    """Whether a program's output or an error message says that a disk is full."""
    return any(each in text for each in TEXTS)


def is_full(folder: Path) -> bool:
    """Whether a folder has almost no free space."""
    return _free(folder) < LITTLE


def least_free(*folders: Path) -> Path:
    """The folder with the least free space; the first one if several are on one disk."""
    return min(folders, key=_free)


def _free(folder: Path) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:  # it does not exist, so nothing was written to it
        return 1 << 62
    return status.f_bavail * status.f_frsize


def close_quietly(file: IO[Any]) -> None:
    """Close a file and ignore errors: a failed write was already reported, and fails here again."""
    with contextlib.suppress(OSError):
        file.close()
