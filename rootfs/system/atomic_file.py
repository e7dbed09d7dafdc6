"""Atomic files: write under a temporary name, then rename, so that readers see the old content or the new one.

A temporary file is locked while its writer lives; `remove_abandoned` removes those that a killed writer left behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from rootfs.system import locks
from rootfs.system.disk import close_quietly, disk_full

TEMPORARY = ".*.partial"  # the names of temporary files, as a pattern
FOR_ALL = 0o644

Errors = Callable[[], AbstractContextManager[None]]  # a block that turns an OSError into an error of ours


def write_file(path: Path, *chunks: bytes, mode: int = FOR_ALL) -> None:
    """Write a file atomically. Its folder is made. Raises DiskFull."""
    with disk_full(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path.parent, mode=0o600) as new:
            for chunk in chunks:
                new.write(chunk)
            new.set_mode(mode)
            new.commit(path)


def create_private_file(path: Path, content: bytes) -> None:
    """Write a new file atomically that only its owner may read, and sync it. Raises FileExistsError."""
    with atomic_file(path.parent, mode=0o600) as new:
        new.write(content)
        new.sync()
        new.commit_new(path)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file to `path` atomically, readable by all. Raises DiskFull.

    A new file is written, never an old one emptied: ext4 writes a file that was emptied to disk at once when it is
    closed (ext4(5), `auto_da_alloc`), and whoever syncs a file then waits for all of that.
    """
    with disk_full(path.parent), source.open("rb") as content, atomic_file(path.parent, mode=0o600) as new:
        shutil.copyfileobj(content, new)
        new.set_mode(FOR_ALL)
        new.commit(path)


def replace_link(path: Path, target: str) -> None:
    """Make a symbolic link atomically, in place of another one of that name. Raises OSError."""
    link = _temporary(path.parent)
    link.symlink_to(target)
    link.replace(path)


class AtomicFile:
    """A file that is being written under a temporary name. It is removed unless it is committed."""

    def __init__(self, path: Path, file: BinaryIO, errors: Errors) -> None:
        self.path, self.file, self._errors = path, file, errors
        self._is_synced = False
        self.size = 0  # bytes that were written

    def write(self, data: bytes) -> None:
        """Append to the file."""
        self._is_synced = False
        with self._errors():
            self.file.write(data)
        self.size += len(data)

    def sync(self) -> None:
        """Write the content to disk, so that it survives a power cut."""
        with self._errors():
            self.file.flush()
            os.fsync(self.file.fileno())
        self._is_synced = True

    def set_mode(self, mode: int) -> None:
        """Set the file's mode, whatever the umask is."""
        with self._errors():
            os.fchmod(self.file.fileno(), mode)

    def commit_new(self, target: Path) -> None:
        """Give the file its name. Raises FileExistsError if another file has it."""
        with self._errors():
            self.file.flush()
            os.link(self.path, target)

    def commit(self, target: Path) -> None:
        """Give the file its name, in place of another file of that name."""
        with self._errors():
            self.file.flush()
            self.path.replace(target)

    def commit_synced(self, top: Path, key: str) -> None:
        """Give the file its name below `top`, and write it and its folder to disk, so that it survives a power cut.

        Missing folders are made. Symbolic links among the folders are refused.
        """
        if not self._is_synced:
            self.sync()
        *folders, name = key.split("/")
        with self._errors(), _opened_folder(top, folders) as folder:
            os.replace(self.path, name, dst_dir_fd=folder)
            os.fsync(folder)


@contextlib.contextmanager
def atomic_file(folder: Path, errors: Errors = contextlib.nullcontext, mode: int = 0o666) -> Iterator[AtomicFile]:
    """Create a temporary file in the folder, which is on the file system of the file's later name.

    `errors` is entered around each operation and may convert its OSErrors.
    """
    with contextlib.ExitStack() as stack:
        with errors():
            path, file = _created(folder, mode, stack)
        yield AtomicFile(path, file, errors)


def _created(folder: Path, mode: int, stack: contextlib.ExitStack) -> tuple[Path, BinaryIO]:
    """A new temporary file, locked until it is closed."""
    while True:
        path = _temporary(folder)
        stack.callback(_discard, path)
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        stack.callback(close_quietly, file)
        descriptor = file.fileno()
        try:
            is_ours = locks.try_lock(descriptor)
        except OSError:  # a file system without locks: nothing is removed there
            is_ours = True
        if is_ours and os.fstat(descriptor).st_nlink:  # no cleanup locked or removed it before us
            return path, file


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.partial"


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files whose writers are dead."""
    for path in folder.glob(TEMPORARY):
        with contextlib.suppress(OSError), locks.open_lockable(path) as file:  # it has gone, or is no file
            if locks.try_lock(file):  # its writer is dead
                path.unlink()


def _discard(path: Path) -> None:
    # A committed file has another name by now. Otherwise the first error is reported, not that of a broken disk here.
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _opened_folder(top: Path, names: list[str]) -> Iterator[int]:
    """Open a folder below `top` by the names of its path. Missing folders are made."""
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            next_folder = _open_below(folder, name)
            os.close(folder)
            folder = next_folder
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
