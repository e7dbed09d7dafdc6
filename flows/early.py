"""What is known of the work that is done ahead on one image."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Literal

from flows.inputs import Inputs
from rootfs.members import Members
from rootfs.run import Log

Step = Literal["resolve", "tree"]


class Stage(Enum):
    """How far the tree of an image is."""

    WAITING = auto()
    BEGUN = auto()  # it is being seen whether the pool has all that it is made of
    GROWING = auto()
    READY = auto()
    TAKEN = auto()  # it is being packed, which leaves no processor for the next one
    LEFT = auto()  # to the steps, or they have it


class Said:
    """Lines of a log that is not there yet."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._log: Log = self._lines.append

    def __call__(self, line: str) -> None:
        """Another line."""
        self._log(line)

    def to(self, log: Log) -> None:
        """What was said, and what will be, goes there."""
        self._log, lines = log, self._lines
        for line in lines:
            log(line)


class Watch:
    """The seconds that a block has lasted so far."""

    def __init__(self) -> None:
        self._began = self._ended = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()

    def told(self) -> float:
        """What it shows, but once."""
        began, self._began = self._began, 0.0
        return (self._ended or time.monotonic()) - began if began else 0.0


@dataclass
class Work:
    """One image's tree: while it is `READY`, `undo` removes it."""

    image: str
    stage: Stage = Stage.WAITING
    wanted: Inputs | None = None
    debs: Path = Path()
    members: Members = ()
    failure: Exception | None = None
    undo: ExitStack = field(default_factory=ExitStack)
    said: Said = field(default_factory=Said)
    watches: dict[Step, Watch] = field(default_factory=lambda: {"resolve": Watch(), "tree": Watch()})
