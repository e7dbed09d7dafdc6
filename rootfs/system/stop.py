"""Stop what other threads wait for: programs, downloads, answers of servers, locks.

Only the main thread gets an interrupt. What may take long therefore says how it is stopped, so that the main thread can
stop it. Each then ends with an error of its own where it runs, and what it has begun is removed there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_running: dict[object, Callable[[], object]] = {}  # of this process, which gets the interrupt
_stopped = threading.Event()


@contextlib.contextmanager
def stoppable(stop: Callable[[], object], *, also_later: bool = False) -> Iterator[None]:
    """While the block lasts, `stop_all` calls `stop`, from any thread and perhaps at the block's very end.

    With `also_later` a block that begins after `stop_all` is stopped at once: not for what cleans up.
    """
    key = object()
    with _lock:
        _running[key] = stop
        too_late = also_later and _stopped.is_set()
    try:
        if too_late:
            stop()
        yield
    finally:
        with _lock:
            del _running[key]


def stop_all() -> None:
    """Stop all that is running now, and what begins later where it says so."""
    with _lock:
        _stopped.set()
        stopping = [threading.Thread(target=stop) for stop in _running.values()]
    for thread in stopping:  # side by side: some programs take seconds to end
        thread.start()
    for thread in stopping:
        thread.join()


def stopped() -> bool:
    """Whether `stop_all` was called."""
    return _stopped.is_set()


def run_stoppable(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; `stop_all` cancels the work. Raises CancelledError then, and what the work raises."""

    async def stoppable_work() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - we run in one
        with stoppable(lambda: loop.call_soon_threadsafe(task.cancel), also_later=True):
            return await work

    return asyncio.run(stoppable_work())
