"""Builds probe.c, a static program that does what its arguments say."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("probe.c")


def build_probe(folder: Path) -> Path:
    """Compile the program into a folder."""
    binary = folder / "probe"
    subprocess.run(["gcc", "-static", "-O1", "-s", "-o", binary, SOURCE], check=True)
    return binary
