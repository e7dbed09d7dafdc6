"""Errors of programs that Baseforge runs: missing, failed, too slow, too large."""

from __future__ import annotations

from rootfs.errors import BuildError, MachineError, RecipeValue


class ProgramMissing(MachineError):
    """A program is in none of the folders that are searched, which are not those of the user's PATH."""

    def __init__(self, program: str, path: str = "") -> None:
        searched = f" in {path}" if path else ""
        super().__init__(
            f"{program} is not installed{searched}",
            hint="Only these folders are searched, whatever PATH says: install it there, such as in /usr/local/bin."
            " `./baseforge doctor` says what else is missing."
            if path
            else "`./baseforge doctor` says what is missing and how to get it.",
            about=RecipeValue(program, ("build",)),
        )


class ProgramFailed(BuildError):
    """A program ended with an exit status other than 0."""

    def __init__(self, program: str, status: int, output: str) -> None:
        ending = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
        super().__init__(f"{program} {ending}", output=output)
        self.exit_status = status


class ProgramTimedOut(BuildError):
    """A program was still running when its time was up; it and all it had started were killed."""

    def __init__(self, program: str, seconds: float, output: str, setting: str = "") -> None:
        super().__init__(
            f"{program} did not end within {seconds:g} s and was stopped",
            hint=f"If it needs longer, raise {setting_hint(setting)}." if setting else "",
            output=output,
        )


class LimitReached(BuildError):
    """A program of a sandbox reached the limit of memory or processes; it and all it had started were killed."""

    def __init__(self, program: str, amount: str, setting: str, output: str) -> None:
        super().__init__(
            f"{program} reached the limit of {amount} and was stopped, with all that it had started",
            hint=f"If it needs more, raise {setting_hint(setting)}.",
            output=output,
        )


def setting_hint(name: str) -> str:
    """A setting, with both ways to set it."""
    return f"`{name}` in baseforge.toml (BASEFORGE_{name.upper()})"
