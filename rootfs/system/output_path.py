"""Files that a user names to be written: what can be replaced by a new file, and what must not be.

A new file takes the name at the end, so whatever has that name is gone then: a device, a pipe, a link.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rootfs.system.errors import cannot_write


def check_output_path(path: Path) -> None:
    """See that a new file may take this name: its folder is there, and nothing but a regular file has the name.

    Raises InputError.
    """
    if path.name == "-" or path.parent in (Path("/dev/fd"), Path("/proc/self/fd")):
        raise cannot_write(path, "standard output and open files cannot be written to, only a named file")
    try:
        folder = path.parent.stat()
        if not stat.S_ISDIR(folder.st_mode):
            raise cannot_write(path, f"{path.parent} is not a folder")
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            raise cannot_write(path, f"you may not write in {path.parent}")
        kind = path.lstat().st_mode
    except FileNotFoundError as error:
        if not path.parent.exists():
            raise cannot_write(path, f"No such file or directory: {path.parent}") from error
    except OSError as error:
        raise cannot_write(path, error.strerror or str(error)) from error
    else:
        if not stat.S_ISREG(kind):
            raise cannot_write(path, f"it is {_kind(path, kind)}, and would be replaced by a file")


def _kind(path: Path, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return f"a link to {path.readlink()}"
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
