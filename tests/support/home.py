"""Data folders with the database of a Prefect server, which takes longer to make than the server to start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(os.environ.get("BASEFORGE_CACHE") or Path.home() / ".cache/baseforge")


def own_home(folder: Path) -> dict[str, str]:
    """The setting for a data folder of its own, and so for a Prefect server of its own.

    The session's data folder begins without a database, and so does that of `tests/engine/test_serve.py`.
    """
    (folder / "prefect").mkdir(parents=True, mode=0o700)
    shutil.copy(_database(), database := folder / "prefect/prefect.db")
    database.chmod(0o600)
    return {"BASEFORGE_HOME": str(folder)}


def _database() -> Path:
    """An empty database of the Prefect that is installed; later runs find it again."""
    path = CACHE / f"tests/prefect-{version('prefect')}.db"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            words = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            subprocess.run(words, env={**os.environ, "PREFECT_HOME": made}, check=True, capture_output=True)
            Path(made, "prefect.db").replace(path)
    return path
