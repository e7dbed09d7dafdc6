"""Files that nobody sees before they are whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from rootfs import locks
from rootfs.disk import close_quietly

DRAFTS = ".*.partial"  # their names, as a pattern

Errors = Callable[[], AbstractContextManager[None]]  # a block that turns an OSError into an error of ours


class Draft:
    """A file that is being written; gone again unless kept."""

    def __init__(self, path: Path, file: BinaryIO, errors: Errors) -> None:
        self._path, self._file, self._errors = path, file, errors
        self._is_synced = False
        self.size = 0  # bytes that were written

    def write(self, data: bytes) -> None:
        """Add to the file."""
        self._is_synced = False
        with self._errors():
            self._file.write(data)
        self.size += len(data)

    def sync(self) -> None:
        """See that what is written is there after a power cut."""
        with self._errors():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._is_synced = True

    def keep(self, target: Path) -> None:
        """Give the file its name, in place of what had it."""
        with self._errors():
            self._file.flush()
            self._path.replace(target)

    def keep_for_good(self, top: Path, key: str) -> None:
        """Give the file its name below `top`, and return only when it would be there after a power cut.

        Folders on the way are made; a link among them is not followed, whoever puts it there and whenever.
        """
        if not self._is_synced:
            self.sync()
        *folders, name = key.split("/")
        with self._errors(), _opened_folder(top, folders) as folder:
            os.replace(self._path, name, dst_dir_fd=folder)
            os.fsync(folder)


@contextlib.contextmanager
def draft(folder: Path, errors: Errors, mode: int = 0o666) -> Iterator[Draft]:
    """Begin a file in the folder, which must be on the file system of its later name. `errors` sees to OSErrors."""
    with contextlib.ExitStack() as stack:
        with errors():
            path, file = _begun(folder, mode, stack)
        yield Draft(path, file, errors)


def _begun(folder: Path, mode: int, stack: contextlib.ExitStack) -> tuple[Path, BinaryIO]:
    """A new file, which is locked as long as its writer lives."""
    while True:
        path = folder / f".{secrets.token_hex(8)}.partial"
        stack.callback(_discard, path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        file = os.fdopen(descriptor, "wb")
        stack.callback(close_quietly, file)
        try:
            is_ours = locks.lock(descriptor)
        except OSError:  # a file system without locks, on which nobody sweeps
            is_ours = True
        if is_ours and os.fstat(descriptor).st_nlink:  # nobody has locked it, or swept it away, before we locked it
            return path, file


def sweep(folder: Path) -> None:
    """Remove the drafts whose writers are dead."""
    for path in folder.glob(DRAFTS):
        with contextlib.suppress(OSError), locks.opened(path) as file:  # it has gone, or is no file
            if locks.lock(file):  # its writer is dead
                path.unlink()


def _discard(path: Path) -> None:
    # Kept, it has another name by now; else the error that ends the draft is the one to tell, not that of a dead disk.
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _opened_folder(top: Path, names: list[str]) -> Iterator[int]:
    """The folder at the end of these names below `top`, opened; those that are not there are made."""
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            below = _open_below(folder, name)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def _open_below(folder: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(name, flags, dir_fd=folder)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    os.fsync(folder)
    return os.open(name, flags, dir_fd=folder)
