"""Where stage two's words go: the log of the build, line by line, as they come."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print one line."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
