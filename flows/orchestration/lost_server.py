"""Whether this process has lost the Prefect server, and how it ends without waiting for it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

_reasons: list[str] = []


def mark(why: str) -> None:
    """The server counts as lost from now on."""
    _reasons.append(why)


def reason() -> str:
    """Why the server counts as lost; empty while it does not."""
    return _reasons[0] if _reasons else ""


def leave(status: int) -> NoReturn:
    """End now: Prefect's threads would try for minutes to send what they still have."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)
