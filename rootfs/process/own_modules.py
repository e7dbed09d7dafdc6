"""Programs of our own that run in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

from rootfs import errors

PACKAGE = Path(errors.__file__).parent.parent  # where `rootfs` is imported from
ENVIRONMENT = {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}


def command(module: str, *words: str | Path) -> list[str | Path]:
    """The command line that runs a module, which needs `ENVIRONMENT`."""
    return [sys.executable, "-P", "-m", module, *words]


def command_apart(module: str, *words: str | Path) -> list[str | Path]:
    """The same for a module that needs no other packages, by the Python that the environment is made from."""
    return [Path(sys.executable).resolve(), "-P", "-s", "-m", module, *words]
