"""Interrupts by Ctrl-C and SIGTERM: the first ends the work, and those that follow soon do not stop the clean-up.

Python raises KeyboardInterrupt wherever the program happens to be: perhaps in a library that turns it into another
error, or in a callback whose errors are only printed. Therefore it is noted that one came, for the whole process.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

from rootfs.system.stop import stopped

PATIENCE = 10.0  # seconds in which a second interrupt is ignored
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_times: list[float] = []


def handle_interrupts() -> None:
    """Handle interrupts from now on. Only for the command line, as a process has one handler for each signal."""
    for number in SIGNALS:
        signal.signal(number, _take)


def _take(_number: int, _frame: FrameType | None) -> None:
    if not _times or time.monotonic() - _times[-1] > PATIENCE:
        _times.append(time.monotonic())
        raise KeyboardInterrupt


def interrupted() -> bool:
    """Whether there was an interrupt, or all threads were stopped: an error after it is its consequence."""
    return bool(_times) or stopped()


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt if there was an interrupt; for places where new work would begin."""
    if interrupted():
        raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """Ignore interrupts from now on: all work is done, and the exit status says how it ended."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
