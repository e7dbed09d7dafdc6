"""Linters and types hold for the whole tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("BASEFORGE_CACHE") or Path.home() / ".cache/baseforge")  # all clones share mypy's


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", f"mypy --cache-dir={CACHE}/mypy"], ids=["ruff", "format", "mypy"]
)
def test_clean(command: str) -> None:
    """As the command line would say it; mypy and ruff find what to look at in pyproject.toml."""
    program = [sys.executable, "-m", *command.split()]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
