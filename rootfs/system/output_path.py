"""Check the paths of output files that a user names.

The output is written to a temporary file and renamed, which would replace a device, a pipe or a link of that name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rootfs.system.errors import cannot_write


def check_output_path(path: Path) -> None:
    """Check that a new file can have this name: its folder exists, and the name is free or that of a regular file.

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
