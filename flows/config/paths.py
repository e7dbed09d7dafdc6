"""The factory's own folders on this machine."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rootfs.errors import MachineError

if TYPE_CHECKING:
    from rootfs.errors import BaseforgeError

SERVED = "BASEFORGE_FOLDER"  # set by `baseforge serve` for its flow runs: relative paths of settings start there


def data_folder() -> Path:
    """Where the factory keeps what it must not lose: `BASEFORGE_HOME`, else the user's data folder."""
    if home := os.environ.get("BASEFORGE_HOME"):
        return Path(home).absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "baseforge"


def may_be_folder(path: Path) -> bool:
    """Whether a folder is there, or one can be: neither it nor what leads to it is a file."""
    there = next((each for each in (path, *path.parents) if os.path.exists(each)), path)  # noqa: PTH110 - never raises
    return os.path.isdir(there)  # noqa: PTH112


def make_data_folder() -> None:
    """Make the data folder, or check the one that is there: logs, caches and keys in it are for its user alone.

    Raises FolderForeign, MachineError.
    """
    from rootfs.system import private

    try:
        private.make_private_folder(data_folder())
    except OSError as error:
        raise MachineError(
            f"the data folder {data_folder()} cannot be made: {error.strerror or str(error)}",
            hint="Name another: BASEFORGE_HOME.",
        ) from error


def check_data_folder() -> None:
    """Check that the data folder, if it exists, is this user's, as its content is trusted. Raises FolderForeign."""
    from rootfs.system import private

    private.check_owner(data_folder())


def cache_folder() -> Path:
    """The folder of caches: what can be made or fetched again, and only saves time."""
    return data_folder() / "cache"


def server_folder() -> Path:
    """The local Prefect server's own: its database, log and state file."""
    return data_folder() / "prefect"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change the working folder for the block; afterwards it is the old one, even if that was removed."""
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def fix_data_folder() -> None:
    """Make the variables that name the data folder absolute, so that they mean the same in any working folder."""
    for name in ("BASEFORGE_HOME", "XDG_DATA_HOME"):
        if place := os.environ.get(name):
            os.environ[name] = str(Path(place).absolute())


def enter_served_folder() -> None:
    """Enter the folder that `baseforge serve` was started in: its flow runs are started in a private folder."""
    if served := os.environ.get(SERVED):
        os.chdir(served)


def known_error(error: Exception) -> BaseforgeError | None:
    """Translate an error that a full disk caused to DiskFull, which names the folder; None for other errors.

    Prefect's server answers only 500 when its disk is full. So if the data folder or the folder for temporary files
    is full, that counts as the cause of any error.
    """
    from rootfs.system.disk import as_disk_full, is_full
    from rootfs.system.errors import DiskFull

    folders = data_folder(), Path(tempfile.gettempdir())
    return as_disk_full(error, *folders) or next((DiskFull(folder) for folder in folders if is_full(folder)), None)
