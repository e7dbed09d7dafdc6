"""Programs that `tests/run` builds from the Go modules in tests/engine/tools."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

SLOWEST_BUILD = 3600.0  # seconds: Kubernetes, on a slow machine
BUILDING = "TOOLS_BUILDING"  # names a file that is there as long as `tests/run` builds


def tool(name: str) -> Path:
    """Where the program is; wait for it while it is being built."""
    until = time.monotonic() + SLOWEST_BUILD
    while is_being_built() and not shutil.which(name):
        assert time.monotonic() < until, f"{name} has not been built in an hour"
        time.sleep(1)
    found = shutil.which(name)
    assert found, f"{name} is not on PATH: tests/run builds it"
    return Path(found)


def is_being_built() -> bool:
    """Whether `tests/run` is still building tools."""
    return Path(os.environ.get(BUILDING) or "/nowhere").exists()
