"""Ctrl-C and SIGTERM: one is enough, it is not lost, and those that follow do not cut the clean-up short.

A KeyboardInterrupt comes up wherever the program happens to be: in a library that makes another error of it, or in a
callback whose errors Python only prints. That one came is therefore kept.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

PATIENCE = 10.0  # seconds in which a second interrupt is taken for impatience
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_times: list[float] = []


def handle_interrupts() -> None:
    """Take interrupts from now on; for the command line alone, as a process has but one way to take them."""
    for number in SIGNALS:
        signal.signal(number, _take)


def _take(_number: int, _frame: FrameType | None) -> None:
    if not _times or time.monotonic() - _times[-1] > PATIENCE:
        _times.append(time.monotonic())
        raise KeyboardInterrupt


def stop() -> None:
    """Let no step begin any more: what other threads do is to end as after an interrupt."""
    _times.append(time.monotonic())


def interrupted() -> bool:
    """Whether there was an interrupt: an error after it is its consequence."""
    return bool(_times)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt when there was an interrupt; for places from which nothing new may begin."""
    if interrupted():
        raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """All is done: the exit status is to be the one that was earned."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
