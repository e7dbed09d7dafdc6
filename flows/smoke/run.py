"""The smoke test: what must hold of an image before it is published, found out by running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.builders.engine import LABEL, Engine
from flows.smoke.container import Container, Ran, remove, run_once
from rootfs.errors import BuildError
from rootfs.recipe.sections import SmokeCheck

EMULATED = 10  # times as long as a program may take where it is emulated: QEMU takes 4 to 8 times as long
Log = Callable[[str], None]
Brought = Callable[[SmokeCheck], Path | None]


@dataclass(frozen=True)
class Result:
    """How one check went: `problems` says what was expected and what came instead, and is empty where all was well."""

    command: tuple[str, ...]
    ran: Ran
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """The check as a terminal would show it."""
        output = [line for text in (self.ran.stdout, self.ran.stderr) for line in text.splitlines()]
        verdict = self.problems or (f"ok after {self.ran.seconds:.1f} s",)
        return [f"$ {shlex.join(self.command)}", *output, *(f"=> {line}" for line in verdict)]


@dataclass(frozen=True)
class Verdict:
    """How all checks of an image went."""

    results: tuple[Result, ...]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(bool(result.problems) for result in self.results)

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return len(self.results) - self.failed

    def require(self) -> None:
        """Raises BuildError, with the output of the checks that failed, unless all passed."""
        if self.failed:
            lines = [line for result in self.results if result.problems for line in result.lines()]
            raise BuildError(
                f"{self.failed} of {len(self.results)} smoke checks failed; nothing was published",
                output="\n".join(lines),
            )


def smoke_test(
    image_id: str,
    checks: Iterable[SmokeCheck],
    engine: Engine,
    *,
    run_label: str,
    log: Log | None = None,
    brought: Brought = lambda _: None,
    emulated: str = "",
) -> Verdict:
    """Run each check in a container of its own and judge it; `log` sees commands and output.

    What a check brings along is in the tar that `brought` gives of it. `emulated` is the image's platform where that
    is not the machine's own: each check has more time then.

    The containers carry the label `baseforge.run=RUN_LABEL` and are removed whatever happens. Raises MachineError, and
    EngineRefused where the engine does not have the image.
    """

    def one(check: SmokeCheck) -> Result:
        return _one(Container(image_id, check.run, run_label, emulated, brought(check)), check, engine, log)

    return Verdict(tuple(map(one, checks)))


def remove_leftovers(engine: Engine, run_label: str) -> int:
    """Remove every container that a run left behind, as when it was killed; returns how many there were."""
    with engine.during("looking for containers that were left behind"):
        found = engine.client.api.containers(quiet=True, all=True, filters={"label": f"{LABEL}={run_label}"})
    for container in found:
        remove(engine, container["Id"])
    return len(found)


def _one(container: Container, check: SmokeCheck, engine: Engine, log: Log | None) -> Result:
    ran = run_once(engine, container, timeout=check.timeout * (EMULATED if container.platform else 1))
    result = Result(check.run, ran, tuple(_problems(check, ran)))
    if log:
        for line in result.lines():
            log(line)
    return result


def _problems(check: SmokeCheck, ran: Ran) -> Iterable[str]:
    """What was expected and did not come; of a command that did not come to its end, only that."""
    if ran.broken:
        yield ran.broken
        return
    if ran.status != check.status:
        yield f"exit status {ran.status}, expected {check.status}" + (" (out of memory)" if ran.out_of_memory else "")
    for name, pattern, text in (("output", check.stdout, ran.stdout), ("error", check.stderr, ran.stderr)):
        if pattern is not None and not re.search(pattern, text):
            yield f"standard {name} does not match {pattern!r}"
