"""Private folders: nobody but their owner reads or writes in them, whatever the folder that they are in."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path

from rootfs.errors import FolderForeign

MODE = 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make(folder: Path) -> None:
    """Make a folder that is this user's alone, and the folders above it.

    One that is there must be this user's; others' rights to it are taken away. A link may lead to it if it is this
    user's or root's. Raises FolderForeign, OSError.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(MODE, parents=True)
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid in (os.geteuid(), 0):
        folder = folder.resolve()
        status = folder.lstat()
    _see_it_is_ours(folder, status)
    if not status.st_mode & OTHERS and stat.S_ISDIR(status.st_mode):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _see_it_is_ours(folder, os.fstat(descriptor))
        os.fchmod(descriptor, MODE)
    finally:
        os.close(descriptor)


def is_private(folder: Path) -> bool:
    """Whether this is a folder, not a link to one, that is this user's and that nobody else has any rights to."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & OTHERS


def is_ours(path: Path) -> bool:
    """Whether something is at this path, not where a link there leads to, and is this user's."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def is_trusted(user: int) -> bool:
    """Whether this user may decide what we do: it is us, root, or who has called us with sudo."""
    return user in (os.geteuid(), 0) or (os.geteuid() == 0 and str(user) == os.environ.get("SUDO_UID"))


def user_name(number: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _see_it_is_ours(folder: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise FolderForeign(folder, user_name(status.st_uid))
