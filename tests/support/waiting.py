"""Wait for a condition, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK = 0.01  # seconds from one look to the next


def until(condition: Callable[[], object], within: float = 20.0) -> None:
    """Return once the condition holds, which must be within so many seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(LOOK)
