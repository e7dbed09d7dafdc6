"""File locks (flock) with timeouts that report who holds the lock.

A user who can open a file can lock it. Lock files are therefore private, unless their folder is shared: then all users
who can write to the folder can open them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rootfs.system.errors import LockHeld
from rootfs.system.private import user_name
from rootfs.system.stop import stoppable

WAIT = 60.0  # seconds
RETRY_DELAY = 0.01  # seconds between two tries; it grows to ten times that
OPEN_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
PROC_LOCKS = Path("/proc/locks")
MAX_COMMAND = 80  # characters of a command line that are shown


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: float = WAIT) -> Iterator[None]:
    """Lock a file for the block, exclusively or shared, against other threads and processes.

    The file and its folder are created. Raises LockHeld if the lock is not free within `wait` seconds, or when
    `stop_all` ends the wait, and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait
    while True:
        with _opened(path) as file:
            if not try_lock(file, shared=shared) and not _locked_later(file, until, shared=shared):
                raise LockHeld(path, wait, holder(file))
            if _is_current(path, file):
                yield
                return


def _locked_later(file: int, until: float, *, shared: bool) -> bool:
    """Try to lock an open file again and again. Returns whether it is locked."""
    stopped, pause = threading.Event(), RETRY_DELAY
    with stoppable(stopped.set):
        while time.monotonic() < until and not stopped.wait(pause):
            if try_lock(file, shared=shared):
                return True
            pause = min(pause * 1.5, 10 * RETRY_DELAY)
    return False


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Lock a file for the block if it is free. Yields whether it was. Raises OSError."""
    while True:
        with _opened(path) as file:
            if not try_lock(file):
                yield False
                return
            if _is_current(path, file):
                yield True
                return


def is_held(path: Path) -> bool:
    """Whether a file is locked. It need not exist."""
    try:
        file = os.open(path, OPEN_FLAGS)
    except OSError:
        return False
    try:
        return not try_lock(file, shared=True)
    finally:
        os.close(file)


def try_lock(file: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, if the lock is free. Returns whether it was. Raises OSError."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(file: int) -> str:
    """Describe the process that holds the lock of an open file, as far as the kernel says (proc(5), /proc/locks)."""
    status = os.fstat(file)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    found: dict[bool, list[str]] = {True: [], False: []}  # by whether the device is the same: not so on overlayfs
    with contextlib.suppress(OSError):
        for words in map(str.split, PROC_LOCKS.read_text().splitlines()):
            if words[1] == "FLOCK" and (where := words[5].rpartition(":"))[2] == str(status.st_ino):
                found[where[0] == device].append(words[4])
    processes = found[True] or found[False]
    return _process(processes[0]) if processes else "another process"


def _process(number: str) -> str:
    process = Path("/proc", number)
    try:
        owner = user_name(process.stat().st_uid)
        words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except OSError:  # it is in another container, or hidden
        return "another process, which this user cannot see"
    command = "".join(letter if letter.isprintable() else "?" for letter in " ".join(words))[:MAX_COMMAND]
    return f"process {number} of {owner}" + (f" ({command})" if command else "")


@contextlib.contextmanager
def open_lockable(path: Path) -> Iterator[int]:
    """Open a regular file that may be locked, not through a symbolic link. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a lock file, or create it with the mode for its folder.

    One that is there keeps its owner and its rights: whoever may write in the folder can have put any file of ours
    there. Only where nobody else may write in it, rights that others had are taken away.
    """
    folder = path.parent.stat()
    mode = 0o600 | (0o060 if folder.st_mode & stat.S_IWGRP else 0) | (0o006 if folder.st_mode & stat.S_IWOTH else 0)
    file, is_new = _open(path, mode)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        if is_new:
            _set_owner(file, folder, mode)
        elif mode == 0o600 and folder.st_uid == status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(file, mode)
        yield file
    finally:
        os.close(file)


def _open(path: Path, mode: int) -> tuple[int, bool]:
    """The file, opened, and whether it is new; no O_CREAT where it is there: Linux may refuse it for others' files."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, OPEN_FLAGS), False
        with contextlib.suppress(FileExistsError):
            return os.open(path, OPEN_FLAGS | os.O_CREAT | os.O_EXCL, mode), True


def _set_owner(file: int, folder: os.stat_result, mode: int) -> None:
    """Give a new lock file the owner and the group of its folder."""
    with contextlib.suppress(OSError):  # a group that this user is not in
        os.fchown(file, folder.st_uid if os.geteuid() == 0 else -1, folder.st_gid)
    os.fchmod(file, mode)


def _is_current(path: Path, file: int) -> bool:
    """Whether the path still names the open file. Only the holder of a lock removes its file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(file))
    return False
