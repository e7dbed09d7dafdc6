"""The smoke test: run an image's checks in containers before it is published."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.builders.engine import LABEL, Engine
from flows.smoke.container import Container, ContainerResult, remove, run_container
from rootfs.errors import BuildError
from rootfs.process.run import Log
from rootfs.recipe.sections import SmokeCheck

EMULATED = 10  # a check may take so many times as long under emulation: QEMU takes 4 to 8 times as long
Brought = Callable[[SmokeCheck], Path | None]
READ_ONLY = "Read-only file system"  # strerror(3) of EROFS, which programs of all languages print
WRITABLE = (
    "All but /dev/shm is read-only in a check: let the program write there, such as by TMPDIR=/dev/shm in a shell or "
    "-Djava.io.tmpdir=/dev/shm for Java."
)


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. `problems` says what was expected and what came instead; it is empty on success."""

    command: tuple[str, ...]
    ran: ContainerResult
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """The check as a terminal would show it."""
        output = [line for text in (self.ran.stdout, self.ran.stderr) for line in text.splitlines()]
        outcome = self.problems or (f"ok after {self.ran.seconds:.1f} s",)
        return [f"$ {shlex.join(self.command)}", *output, *(f"=> {line}" for line in outcome)]


@dataclass(frozen=True)
class SmokeResult:
    """The results of all checks of an image."""

    results: tuple[CheckResult, ...]

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
                hint=WRITABLE if any(READ_ONLY in line for line in lines) else "",
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
) -> SmokeResult:
    """Run each check in a container of its own. `log` gets commands and output.

    `brought` returns the tar with a check's own files. `emulated` is the image's platform if it is not the machine's:
    each check has more time then.

    The containers have the label `baseforge.run=RUN_LABEL` and are always removed. Raises MachineError, and
    EngineRefused if the engine does not have the image.
    """

    def one(check: SmokeCheck) -> CheckResult:
        return _one(Container(image_id, check.run, run_label, emulated, brought(check)), check, engine, log)

    return SmokeResult(tuple(map(one, checks)))


def remove_containers(engine: Engine, run_label: str) -> int:
    """Remove every container that a run, for example a killed one, left behind; returns how many."""
    with engine.during("looking for containers that were left behind"):
        found = engine.client.api.containers(quiet=True, all=True, filters={"label": f"{LABEL}={run_label}"})
    for container in found:
        remove(engine, container["Id"])
    return len(found)


def _one(container: Container, check: SmokeCheck, engine: Engine, log: Log | None) -> CheckResult:
    ran = run_container(engine, container, timeout=check.timeout * (EMULATED if container.platform else 1))
    result = CheckResult(check.run, ran, tuple(_problems(check, ran)))
    if log:
        for line in result.lines():
            log(line)
    return result


def _problems(check: SmokeCheck, ran: ContainerResult) -> Iterable[str]:
    """The expectations that were not met. If the command did not end, only that."""
    if ran.broken:
        yield ran.broken
        return
    if ran.status != check.status:
        yield f"exit status {ran.status}, expected {check.status}" + (" (out of memory)" if ran.out_of_memory else "")
    for name, pattern, text in (("output", check.stdout, ran.stdout), ("error", check.stderr, ran.stderr)):
        if pattern is not None and not re.search(pattern, text):
            yield f"standard {name} does not match {pattern!r}"
