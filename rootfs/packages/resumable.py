"""Files that come in parts: what has come is hashed as it is written, and there for a later run to go on from."""

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
    """The beginning of a file, and its hash.

    The file's time is the archive's own for it, as `If-Range` needs it in a later run; 1970 where it gives none.
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
        """What to ask a server for the rest with; it gives all where the file has changed since."""
        if not self.size:
            return {}
        unchanged = {"If-Range": formatdate(self._modified, usegmt=True)} if self._modified else {}
        return {"Range": f"bytes={self.size}-", **unchanged}

    def restart(self, modified: int = 0) -> None:
        """Begin anew; `modified` is when the archive's file was changed, in seconds since 1970."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size, self._modified = hashlib.sha256(), 0, modified

    def add(self, data: bytes) -> None:
        """Take the next bytes; they are in the file at once, so that a killed run leaves what it has."""
        self._file.write(data)
        self._file.flush()
        os.utime(self._file.fileno(), (self._modified, self._modified))
        self._hash.update(data)
        self.size += len(data)

    def whole(self) -> BinaryIO:
        """The file, at its beginning."""
        self._file.seek(0)
        return self._file


@contextlib.contextmanager
def open_partial(path: Path) -> Iterator[BinaryIO]:
    """The partial file, ours alone: where another run has it in hand, a nameless one. Raises DiskFull."""
    with contextlib.ExitStack() as stack:
        with disk_full(path.parent):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "r+b")
            stack.callback(close_quietly, file)
            if not locks.try_lock(file.fileno()):
                file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - the stack closes it
                stack.callback(close_quietly, file)
        yield file
