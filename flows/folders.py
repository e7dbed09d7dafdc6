"""The factory's own folders on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Where the factory keeps what it must not lose: `BASEFORGE_HOME`, else the user's data folder."""
    if home := os.environ.get("BASEFORGE_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "baseforge"


def cache_folder() -> Path:
    """Where the factory keeps what it can make or fetch again, and is only faster with."""
    return data_folder() / "cache"


def server_folder() -> Path:
    """The local Prefect server's own: its database, log and state file."""
    return data_folder() / "prefect"
