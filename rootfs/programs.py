"""The programs of one line of work, so that another can end them all."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import Protocol


class Program(Protocol):
    """What runs, and can be ended from any thread."""

    def end(self) -> None:
        """End it, and wait until it has."""


class Programs:
    """Those that were started inside a `with` block of this; after `end` none lives, and none stays that is started."""

    def __init__(self) -> None:
        self._running: set[Program] = set()
        self._ended, self._lock = False, threading.Lock()

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """While the block lasts, what its thread starts is counted here."""
        token = _line.set(self)
        try:
            yield
        finally:
            _line.reset(token)

    @contextlib.contextmanager
    def counted(self, program: Program) -> Iterator[None]:
        """A program that runs while the block lasts."""
        with self._lock:
            self._running.add(program)
            ended = self._ended
        try:
            if ended:
                program.end()
            yield
        finally:
            with self._lock:
                self._running.discard(program)

    def end(self) -> None:
        """End all of them, now and from now on."""
        with self._lock:
            self._ended, running = True, list(self._running)
        for program in running:
            program.end()


_line: contextvars.ContextVar[Programs | None] = contextvars.ContextVar("line", default=None)


def counted(program: Program) -> contextlib.AbstractContextManager[None]:
    """Count a program to the line of work that starts it, if that is one that can be ended."""
    programs = _line.get()
    return programs.counted(program) if programs else contextlib.nullcontext()
