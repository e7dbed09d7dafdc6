"""The database of the local Prefect server: how long runs are kept, and how its file shrinks."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

FILE = "prefect.db"
DAY = 86400  # seconds
EVENTS = 2  # days; they are most of what a night writes, and only the newest are ever looked at
FULL = 1  # sqlite.org/pragma.html#pragma_auto_vacuum


def retention(days: int) -> dict[str, str]:
    """Settings by which the server removes older runs every hour, with their logs, tables and task runs."""
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(days * DAY),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{min(days, EVENTS)}D",
    }


def enable_shrinking(folder: Path) -> None:
    """Make the file shrink when rows are removed; the first time this takes a while for a large file.

    Only while no server runs. A database that SQLite cannot open is left to the server, which says what is wrong.
    """
    (folder / FILE).touch(mode=0o600)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        if connection.execute("pragma auto_vacuum").fetchone() != (FULL,):
            connection.execute(f"pragma auto_vacuum = {FULL}")
            connection.execute("vacuum")
