"""Check the messages of failed commands and the end of interrupted ones."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.factory import Done, Factory

FEW = 6  # lines, not counting what a program printed
SLOWEST_STEP = 120.0  # seconds
SLOWEST_END = 15.0  # seconds from a signal to the end

Condition = Callable[[str], bool]  # whether it is so; sees standard error so far


def complains(done: Done, status: int, *words: str) -> str:
    """The message of a command that ended with this status, in a few lines that have these words."""
    assert done.status == status, done.stderr
    steps = ("✓", "✗", "  |")  # progress, and what a program printed
    lines = [line for line in done.stderr.splitlines() if not line.startswith(steps)]
    assert 1 <= len(lines) <= FEW, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in {done.stderr}"
    return "\n".join(lines)


@dataclass
class Running:
    """A command that is running, what it has said on standard error, and its end."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.said.extend(iter(self.process.stderr.readline, ""))

    def until(self, condition: Condition) -> None:
        """Wait for the condition; the command must still be running then."""
        deadline = time.monotonic() + SLOWEST_STEP
        while not condition("".join(self.said)):
            assert self.process.poll() is None, f"it ended early: {self.said}"
            assert time.monotonic() < deadline, f"nothing happened: {self.said}"
            time.sleep(0.02)

    def end(self, within: float) -> Done:
        """Its end, which must come in this many seconds."""
        assert self.process.stdout
        self.process.wait(within)
        self._reader.join()
        return Done(self.process.returncode, self.process.stdout.read(), "".join(self.said))


def start(site: Factory, *words: str, env: dict[str, str] | None = None) -> Running:
    """Start the command line."""
    return Running(site.start(*words, env=env or {}))


def stop(running: Running, condition: Condition, number: signal.Signals = signal.SIGINT, pause: float = 0.0) -> Done:
    """Wait for the condition, send a signal as a terminal does, to the whole group, and see the command end soon."""
    with running.process:
        try:
            running.until(condition)
            time.sleep(pause)
            os.killpg(running.process.pid, number)
            return running.end(SLOWEST_END)
        finally:
            running.process.kill()
