"""What a person sees of a build: its steps, their seconds, what came out. Live on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from rootfs.mask import masked
from rootfs.system.text import printable, visible


@dataclass
class Timeline:
    """The seconds each step of one build took, in order."""

    seconds: dict[str, float] = field(default_factory=dict)


class Progress:
    """Shows steps on standard error; standard output belongs to results."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._note = ""
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
        self._note, began = "", time.monotonic()
        self._bars.start()
        bar = self._bars.add_task(title, total=None, detail="")
        mark = "[red]✗[/]"
        try:
            yield
            mark = "[green]✓[/]"
        finally:
            self._bars.remove_task(bar)
            self._bars.stop()
            took = time.monotonic() - began
            word = title.split(maxsplit=1)[0]
            timeline.seconds[word] = round(timeline.seconds.get(word, 0) + took, 3)
            self.console.print(f"{mark} {title:<31} {took:6.1f} s  [dim]{self._note}[/]", soft_wrap=True)

    def note(self, text: str) -> None:
        """What the closing line of the running step will say."""
        self._note = text

    def detail(self, line: str) -> None:
        """The newest line of the program that is running."""
        for bar in self._bars.task_ids:
            self._bars.update(bar, detail=escape(printable(masked(line))[:80]))

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(visible(masked(text)), soft_wrap=True, markup=False)
