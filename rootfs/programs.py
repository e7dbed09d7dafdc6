"""The programs of one line of work, so that another can end them all."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import Protocol

LONG = 0.05  # seconds; what only says a word is over by then


class Program(Protocol):
    """What runs, and can be ended from any thread."""

    def end(self) -> None:
        """End it, and wait until it has."""


class Programs:
    """Those that were started inside a `with` block of this; after `end` none lives, and none stays that is started.

    `busy` is set when one of them has been waited for a while, or something else is waited for.
    """

    def __init__(self) -> None:
        self.busy = threading.Event()
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
    def counted(self, program: Program, *, fed: bool) -> Iterator[None]:
        """A program that runs while the block lasts; one that is `fed` is given there what it works on."""
        patience = threading.Timer(LONG, self.busy.set)
        if not (fed or _alone.get()):
            patience.start()
        with self._lock:
            self._running.add(program)
            ended = self._ended
        try:
            if ended:
                program.end()
            yield
        finally:
            patience.cancel()
            with self._lock:
                self._running.discard(program)

    def end(self) -> None:
        """End all of them, now and from now on."""
        with self._lock:
            self._ended, running = True, list(self._running)
        for program in running:
            program.end()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What is waited for in the block has work for every processor: nothing else gains by being begun meanwhile."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """What is started in the block is not ended with its line of work: it clears away after that."""
    token = _line.set(None)
    try:
        yield
    finally:
        _line.reset(token)


_alone: contextvars.ContextVar[bool] = contextvars.ContextVar("alone", default=False)
_line: contextvars.ContextVar[Programs | None] = contextvars.ContextVar("line", default=None)


def counted(program: Program, *, fed: bool) -> contextlib.AbstractContextManager[None]:
    """Count a program to the line of work that starts it, if that is one that can be ended."""
    programs = _line.get()
    return programs.counted(program, fed=fed) if programs else contextlib.nullcontext()


def waiting() -> None:
    """Say that this line of work waits now, for a network or the like."""
    if (programs := _line.get()) and not _alone.get():
        programs.busy.set()
