"""Resumable downloads: the bytes so far are hashed as they are written, and a later run continues from there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from rootfs.system import locks
from rootfs.system.disk import close_quietly, disk_full

CHUNK = 1 << 20


class PartialDownload:
    """The beginning of a downloaded file, and its hash.

    The file's modification time is that of the server's file, which `If-Range` needs in a later run; 0 if unknown.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash, self.size = hashlib.sha256(), 0
        self._modified = int(os.fstat(file.fileno()).st_mtime)
        while chunk := file.read(CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)

    @property
    def sha256(self) -> str:
        """The hash of the bytes so far, in hex."""
        return self._hash.hexdigest()

    @property
    def headers(self) -> dict[str, str]:
        """The headers to request the rest. A server sends the whole file if it has changed since."""
        if not self.size:
            return {}
        unchanged = {"If-Range": formatdate(self._modified, usegmt=True)} if self._modified else {}
        return {"Range": f"bytes={self.size}-", **unchanged}

    def restart(self, modified: int = 0) -> None:
        """Start from the beginning. `modified` is the time of the server's file, in seconds since 1970."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size, self._modified = hashlib.sha256(), 0, modified

    def add(self, data: bytes) -> None:
        """Append bytes. They are written at once, so that a killed run leaves all that it received."""
        self._file.write(data)
        self._file.flush()
        os.utime(self._file.fileno(), (self._modified, self._modified))
        self._hash.update(data)
        self.size += len(data)

    def whole(self) -> BinaryIO:
        """The file, from its beginning."""
        self._file.seek(0)
        return self._file


@contextlib.contextmanager
def open_partial(path: Path) -> Iterator[BinaryIO]:
    """Open a partial download and lock it. If another run has locked it, a temporary file. Raises DiskFull."""
    with contextlib.ExitStack() as stack:
        with disk_full(path.parent):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "r+b")
            stack.callback(close_quietly, file)
            if not locks.try_lock(file.fileno()):
                file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - the stack closes it
                stack.callback(close_quietly, file)
        yield file
