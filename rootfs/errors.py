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


# Archives


class NetworkFailure(BuildError):
    """Something on the network did not answer as it should: the only kind of error that trying again can help."""


class ArchiveUnreachable(NetworkFailure):
    """An archive does not answer, or breaks off."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the archive does not answer: {reason}",
            where=address,
            mend="Check the network and the proxy settings, or name a mirror: [mirrors] in baseforge.toml.",
        )


class ArchiveMoved(NetworkFailure):
    """The archive changed between our look at it and the engine's."""

    def __init__(self, suite: str) -> None:
        super().__init__(f"the archive published a new {suite} while the tree was being made", mend="Build again.")


class UnknownSuite(InputError):
    """No distribution has a suite of this name."""

    def __init__(self, suite: str, known: Iterable[str]) -> None:
        hint = nearest(suite, known) or "`baseforge doctor` lists the suites known here (from distro-info-data)."
        super().__init__(f"no distribution has a suite {suite!r}", mend=hint)


class SuiteMissing(InputError):
    """The archive does not have the suite."""

    def __init__(self, suite: str, address: str) -> None:
        super().__init__(
            f"the archive has no suite {suite!r}",
            where=address,
            mend="Check `suite` in the recipe; an old release may have moved to an archive of old releases ([mirrors]).",
        )


class PackageMissing(InputError):
    """The archive has no such package."""

    def __init__(self, package: str, suite: str, components: Iterable[str]) -> None:
        super().__init__(
            f"{suite} ({', '.join(components)}) has no package {package!r}",
            mend="Check the name in `include`, or add the component that has it to `components`.",
        )


class KeyringMissing(MachineError):
    """The file that a distribution's signatures are checked with is not there."""

    def __init__(self, distribution: str, path: object) -> None:
        super().__init__(
            f"there is no keyring for {distribution} at {path}",
            mend=f"Install {distribution}'s archive keyring (`./baseforge setup` does), or name one under [keyrings].",
        )


class UnsignedRelease(BuildError):
    """A Release file is not signed by a key of the keyring: the archive is not who it says it is."""

    def __init__(self, address: str, keyring: object, unknown: list[str]) -> None:
        by = f" (it is signed by {', '.join(unknown)})" if unknown else ""
        super().__init__(
            f"the signature is not one of {keyring}{by}; nothing was built from it",
            where=address,
            mend="If the archive has a new key, update the keyring's package; otherwise do not trust this mirror.",
        )


class InvalidRelease(BuildError):
    """A Release file is signed, but not one to build from."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the Release file cannot be used: {reason}", where=address, mend="Check the mirror and this machine's clock."
        )


# Engines


class ToolsMissing(MachineError):
    """Packages of this machine that a recipe is built with are not installed."""

    def __init__(self, packages: list[str]) -> None:
        super().__init__(
            f"not installed: {', '.join(packages)}", mend=f"sudo apt-get install --no-install-recommends {' '.join(packages)}"
        )


class NeedsRoot(MachineError):
    """The engine works only as root."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"the engine {engine} needs root", mend="Run with sudo, or use `engine: mmdebstrap`.")


# Settings


class InvalidSetting(InputError):
    """A setting is unknown or has a wrong value."""


# Prefect


class ServerFailed(MachineError):
    """The local Prefect server did not start."""

    def __init__(self, log: str) -> None:
        super().__init__(
            "the local Prefect server did not start",
            mend="`baseforge doctor` says where its folder is; PREFECT_API_URL names another server.",
            output=log,
        )
