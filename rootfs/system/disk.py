"""Full disks: every error of one becomes DiskFull, which names the folder."""

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
LITTLE = 64 << 10  # bytes; a database, or a log, cannot grow into what is left
TEXTS = tuple(os.strerror(number) for number in FULL)  # what programs print of it


@contextlib.contextmanager
def disk_full(folder: Path) -> Iterator[None]:
    """A block whose OSErrors are DiskFull where they say that the folder's disk, or the user's share of it, is."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(folder) from error
        raise


@contextlib.contextmanager
def program_disk_full(folder: Path) -> Iterator[None]:
    """A block whose errors, also those of programs that it runs, are DiskFull where they say that no space is left."""
    try:
        yield
    except (BaseforgeError, OSError) as error:
        if reports_disk_full(error.output if isinstance(error, BaseforgeError) else str(error)):
            raise DiskFull(least_free(folder, Path(tempfile.gettempdir()))) from error
        raise


@contextlib.contextmanager
def any_disk_full(*folders: Path) -> Iterator[None]:
    """A block whose errors of a full disk are DiskFull, as `told` has them."""
    try:
        yield
    except OSError as error:
        if full := as_disk_full(error, *folders):
            raise full from error
        raise


def as_disk_full(error: Exception, *folders: Path) -> DiskFull | None:
    """The error of a full disk as DiskFull; of the folders, which it may be in, it names the one with the least space.

    None for any other error.
    """
    if not isinstance(error, OSError) or not (error.errno in FULL or reports_disk_full(str(error))):
        return None
    return DiskFull(Path(os.fsdecode(error.filename)).parent if error.filename else least_free(*folders))


def reports_disk_full(text: str) -> bool:
    """Whether a program's output, or an error, says that a disk is full."""
    return any(each in text for each in TEXTS)


def is_full(folder: Path) -> bool:
    """Whether hardly anything can be written to a folder any more."""
    return _free(folder) < LITTLE


def least_free(*folders: Path) -> Path:
    """The one with the least free space of these; the first one of several on one disk."""
    return min(folders, key=_free)


def _free(folder: Path) -> int:
    try:
        there = os.statvfs(folder)
    except OSError:  # it is not there, so nothing was being written to it
        return 1 << 62
    return there.f_bavail * there.f_frsize


def close_quietly(file: IO[Any]) -> None:
    """Close a file: what a full disk kept from being written fails once more here, and has been told already."""
    with contextlib.suppress(OSError):
        file.close()
