"""Every error a user can see: what went wrong, where, and what to do about it.

Exit statuses: 1 a build or a check failed, 2 the user's input is wrong, 3 the machine lacks something.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """An error a user can mend. Printed as a few lines, never as a traceback.

    `what` is one sentence; `where` is `file:line:column`, a step or an address; `mend` says what to do; `output` is the
    end of what the failing program printed.
    """

    status = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "", output: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.mend, self.output = what, where, mend, output

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        tail = "".join(f"\n  | {line}" for line in self.output.strip().splitlines()[-20:])
        return head + tail + (f"\n  {self.mend}" if self.mend else "")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from `args` when pickled (Prefect does); ours have keywords.
        return (_rebuild, (type(self), self.what, self.where, self.mend, self.output))


def _rebuild(kind: type[Problem], what: str, where: str, mend: str, output: str) -> Problem:
    problem = kind.__new__(kind)
    Problem.__init__(problem, what, where=where, mend=mend, output=output)
    return problem


class BuildError(Problem):
    """A build or a check failed."""


class InputError(Problem):
    """What the user wrote (a recipe, an option, a setting) is wrong."""

    status = 2


class MachineError(Problem):
    """The machine lacks something, or something on it does not answer."""

    status = 3


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean …?` with the nearest known word, or an empty string when none is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {match[0]!r}?" if match else ""


# Programs


class ProgramMissing(MachineError):
    """A program is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed", mend="`./baseforge doctor` says what is missing and how to get it.")


class ProgramFailed(BuildError):
    """A program ended with an exit status other than 0."""

    def __init__(self, program: str, status: int, output: str) -> None:
        ending = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
        super().__init__(f"{program} {ending}", output=output)
        self.exit_status = status


class ProgramTimedOut(BuildError):
    """A program was still running when its time was up; it and all it had started were killed."""

    def __init__(self, program: str, seconds: float, output: str) -> None:
        super().__init__(f"{program} did not end within {seconds:g} s and was stopped", output=output)


# Trees and layers


class BadTree(BuildError):
    """What an engine gave is not a tree we can pack."""

    def __init__(self, what: str) -> None:
        super().__init__(what, mend="Build again; if it stays so, `baseforge log IMAGE` has what the engine printed.")


class DiskFull(BuildError):
    """No space is left where a file was being written; nothing half-written is left."""

    def __init__(self, folder: object) -> None:
        super().__init__(f"no space is left in {folder}", mend="Free some, or name another folder (see `baseforge doctor`).")
