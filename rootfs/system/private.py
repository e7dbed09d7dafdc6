"""Private folders: nobody but their owner reads or writes in them, whatever the folder that they are in."""

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
    """Make a folder that is this user's alone, and the folders above it.

    One that is there must be this user's; others' rights to it are taken away. A link may lead to it if it is this
    user's or root's. `setting` is what names it. Raises FolderForeign, MachineError, OSError.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(MODE, parents=True)
    _see_it_stays(folder, setting)
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid in (os.geteuid(), 0):
        folder = folder.resolve()
        _see_it_stays(folder, setting)
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


def check_owner(folder: Path) -> None:
    """See that a folder, if it is there, is this user's; nothing is made or changed. Raises FolderForeign."""
    with contextlib.suppress(OSError):
        _see_it_is_ours(folder, folder.stat())


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


def _see_it_stays(folder: Path, setting: str) -> None:
    """See that no other user can rename the folder, or one above it, and put another in its place.

    Who may write in a folder may rename all that is in it, unless it is sticky.
    """
    real = folder.parent.resolve()
    for above in dict.fromkeys((*folder.absolute().parents, real, *real.parents)):
        status = above.stat()
        by_others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_own_group(status))
        if by_others and not status.st_mode & stat.S_ISVTX:
            raise MachineError(
                f"other users can rename this folder: they may write in {above}, which is not sticky",
                where=str(folder),
                hint=f"Forbid that (chmod go-w {above}), make it sticky (chmod +t), or name another: {setting}.",
            )


def _is_own_group(status: os.stat_result) -> bool:
    """Whether the folder's group is root's, or the one that its trusted owner has alone (adduser(8), USERGROUPS)."""
    if status.st_gid == 0:
        return True
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return is_trusted(status.st_uid) and group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
