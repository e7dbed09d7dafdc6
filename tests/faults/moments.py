"""Kill a publication at a chosen moment, counted by the files, programs and requests that it uses."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import flows.store.s3  # noqa: F401 - once, and not in each process
from flows.publish_tasks import publish as publish_build
from tests.support.publishing import Press

# Where something may change outside of this process, as Python's audit events have it.
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "fcntl.flock", "subprocess.Popen", "http.client.send"}
MIDDLE = 0.02  # seconds after a program was started: it is at work then, and dies with us


class Killer:
    """Counts moments, and kills this process at one of them; a program that has been started is at work by then."""

    def __init__(self, moment: int, places: tuple[str, ...]) -> None:
        self.moment, self.places, self.count = moment, places, 0
        self.armed = True
        sys.addaudithook(self._see)

    def _see(self, event: str, words: tuple[Any, ...]) -> None:
        if not self.armed or event not in EVENTS or not self._counts(event, words):
            return
        self.count += 1
        if self.count == self.moment:
            _kill()
        if event == "subprocess.Popen":  # its middle is a moment of its own
            self.count += 1
            if self.count == self.moment:
                threading.Timer(MIDDLE, _kill).start()

    def _counts(self, event: str, words: tuple[Any, ...]) -> bool:
        return event != "open" or str(words[0]).startswith(self.places)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def publish(press: Press, environment: dict[str, str], text: str, moment: int, say: Callable[[int], None]) -> None:
    """Publish a new build, and be killed at this moment of it; without one `say` how many there are."""
    os.environ.update(environment)
    press.write(text)
    with press.building() as ctx:
        made = press.make(ctx)
        killer = Killer(moment, (press.store.removeprefix("file://"), str(press.folder)))
        publish_build(ctx, *made)
        killer.armed = False
        say(killer.count)


def go_on(press: Press, environment: dict[str, str], text: str, by_run: bool) -> None:
    """What comes after: the next run of the image with the same recipe, or housekeeping."""
    os.environ.update(environment)
    if by_run:
        press.build(text)
    else:
        press.gc()
