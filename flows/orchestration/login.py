"""The login of the local Prefect server: new at each start, in a file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from flows.orchestration.errors import not_private
from rootfs.system.atomic_file import create_private_file

FILE = "login"
USER = "baseforge"


def read(folder: Path) -> str:
    """`USER:PASSWORD`, as clients send it and as a person types it in the browser; created if there is none.

    A second process reads the first one's login. Raises MachineError when others could have read or written it.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        _make(path)
    handle = _opened(path)
    with os.fdopen(handle) as file:
        if os.fstat(handle).st_mode & 0o077:
            raise not_private(path)
        return file.read().strip()


def renewed(folder: Path) -> str:
    """Replace the login by a new one: whoever knows the old one can no longer use it.

    Clients of the old server send it to whatever listens on the port afterwards. Raises MachineError.
    """
    if os.path.lexists(path := folder / FILE):
        read(folder)
        path.unlink()
    return read(folder)


def _make(path: Path) -> None:
    """Make the login file, unless another process has just made it."""
    with contextlib.suppress(FileExistsError):
        create_private_file(path, f"{USER}:{secrets.token_urlsafe(32)}\n".encode())


def _opened(path: Path) -> int:
    """A handle on a file of ours. Raises MachineError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise not_private(path, error.strerror or str(error)) from error
    if os.fstat(handle).st_uid != os.geteuid():
        os.close(handle)
        raise not_private(path)
    return handle
