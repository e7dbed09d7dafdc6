"""Progress of builds for people: steps, their seconds and results. Live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rootfs.mask import masked
from rootfs.system.text import printable, visible


@dataclass
class Timeline:
    """The seconds each step of one build took, in order; the running step's bar, and the note of its closing line.

    `moments` has when something was reached, by name, in seconds since 1970.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    moments: dict[str, float] = field(default_factory=dict)
    note: str = ""
    bar: TaskID | None = None


class Progress:
    """Shows steps on standard error; standard output belongs to results. Threads may share it."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextlib.contextmanager
    def step(self, title: str, timeline: Timeline) -> Iterator[None]:
        """One step: shown while it runs, closed with its seconds and its note, or marked as failed."""
        timeline.note, began = "", time.monotonic()
        timeline.bar = bar = self._show(title)
        mark = "[red]✗[/]"
        try:
            yield
            mark = "[green]✓[/]"
        finally:
            timeline.bar = None
            self._hide(bar)
            took = time.monotonic() - began
            word = title.split(maxsplit=1)[0]
            timeline.seconds[word] = round(timeline.seconds.get(word, 0) + took, 3)
            note = f"  [dim]{timeline.note}[/]" if timeline.note else ""
            self.console.print(f"{mark} {title:<31} {took:6.1f} s{note}", soft_wrap=True)

    def _show(self, title: str) -> TaskID:
        with self._lock:
            self._bars.start()
            return self._bars.add_task(title, total=None, detail="")

    def _hide(self, bar: TaskID) -> None:
        with self._lock:
            self._bars.remove_task(bar)
            if not self._bars.task_ids:
                self._bars.stop()

    def detail(self, line: str, timeline: Timeline) -> None:
        """Show the newest line of the program that a step runs."""
        if timeline.bar is not None:
            self._bars.update(timeline.bar, detail=escape(printable(masked(line))[:80]))

    def say(self, text: str) -> None:
        """Show a line of its own."""
        self.console.print(visible(masked(text)), soft_wrap=True, markup=False)
