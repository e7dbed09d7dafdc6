"""What a full disk does to files, said in one way."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rootfs.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_full(folder: Path) -> Iterator[None]:
    """A block whose OSErrors are DiskFull where they say that the folder's disk, or the user's share of it, is."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(folder) from error
        raise


def close_quietly(file: BinaryIO) -> None:
    """Close a file: what a full disk kept from being written fails once more here, and has been told already."""
    with contextlib.suppress(OSError):
        file.close()
