"""Private folders, which only their owner can read, write or replace."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from pathlib import Path

from rootfs.errors import MachineError
from rootfs.system.errors import FolderForeign

MODE = 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path, setting: str = "BASEFORGE_HOME") -> None:
    """Create a folder that only this user can use, and its parents.

    An existing folder must belong to this user; other users' permissions are removed. It may be a symbolic link of this
    user or root. Errors name the `setting`. Raises FolderForeign, MachineError, OSError.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(MODE, parents=True)
    _check_not_replaceable(folder, setting)
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid in (os.geteuid(), 0):
        folder = folder.resolve()
        _check_not_replaceable(folder, setting)
        status = folder.lstat()
    _check_owner(folder, status)
    if not status.st_mode & OTHERS and stat.S_ISDIR(status.st_mode):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check_owner(folder, os.fstat(descriptor))
        os.fchmod(descriptor, MODE)
    finally:
        os.close(descriptor)


def check_owner(folder: Path) -> None:
    """Check that a folder belongs to this user, if it exists. Raises FolderForeign."""
    with contextlib.suppress(OSError):
        _check_owner(folder, folder.stat())


def is_private(folder: Path) -> bool:
    """Whether this is a folder, not a link, that belongs to this user and that no other user can use."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & OTHERS


def is_ours(path: Path) -> bool:
    """Whether the path exists and belongs to this user. Links are not followed."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def is_trusted(user: int) -> bool:
    """Whether this user is ourselves, root, or the one who called sudo."""
    return user in (os.geteuid(), 0) or (os.geteuid() == 0 and str(user) == os.environ.get("SUDO_UID"))


def user_name(number: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _check_owner(folder: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise FolderForeign(folder, user_name(status.st_uid))


def _check_not_replaceable(folder: Path, setting: str) -> None:
    """Check that no other user can replace the folder or one of its parents.

    A user who can write to a folder can rename all that is in it, unless it is sticky.
    """
    real = folder.parent.resolve()
    for parent in dict.fromkeys((*folder.absolute().parents, real, *real.parents)):
        status = parent.stat()
        by_others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_own_group(status))
        if by_others and not status.st_mode & stat.S_ISVTX:
            raise MachineError(
                f"other users can rename this folder: they may write in {parent}, which is not sticky",
                where=str(folder),
                hint=f"Forbid that (chmod go-w {parent}), make it sticky (chmod +t), or name another: {setting}.",
            )


def _is_own_group(status: os.stat_result) -> bool:
    """Whether the folder's group is root, or has only the trusted owner as member (adduser(8), USERGROUPS)."""
    if status.st_gid == 0:
        return True
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return is_trusted(status.st_uid) and group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
