"""Errors of the Prefect server."""

from __future__ import annotations

from collections.abc import Sequence

from rootfs.errors import MachineError


def server_failed(log: str) -> MachineError:
    """The local Prefect server did not start."""
    return MachineError(
        "the local Prefect server did not start",
        hint="`baseforge doctor` says where its folder is; PREFECT_API_URL names another server.",
        output=log,
    )


def not_private(
    path: object, why: str = "it belongs to somebody else, or others can read or change it"
) -> MachineError:
    """A file with a secret belongs to somebody else, or others can read or change it."""
    return MachineError(
        f"this is not a private file: {why}",
        where=str(path),
        hint="Remove it and run `baseforge stop`; the next command makes a new one.",
    )


class PortTaken(MachineError):
    """The local Prefect server cannot listen on its port, as another program does."""

    def __init__(self, port: int, why: str) -> None:
        super().__init__(
            f"port {port} of this machine cannot be used: {why}",
            where="the setting `server_port`",
            hint="Choose another port in baseforge.toml (BASEFORGE_SERVER_PORT), or stop that program.",
        )


def services_failing(problem: str, log: Sequence[str], address: str) -> MachineError:
    """The Prefect server is up, but its services do not do their work: no night will happen."""
    hint = "`baseforge doctor` shows its state; `baseforge stop`, and `baseforge serve` starts it anew."
    return MachineError(
        f"the services of the Prefect server do not work: {problem}; no night would happen",
        where=address,
        hint=hint if log else "Look into the log of that server.",
        output="\n".join(log),
    )


def server_ended(address: str, log: Sequence[str]) -> MachineError:
    """The local Prefect server has ended while `baseforge serve` used it."""
    return MachineError(
        "the local Prefect server has ended: it was stopped, or has failed; no night would happen",
        where=address,
        hint="`baseforge serve` starts it anew.",
        output="\n".join(log),
    )


def server_hangs(pid: int, address: str, log: object, seconds: float) -> MachineError:
    """The local Prefect server is there, but does not answer; a second one would write to the same database."""
    return MachineError(
        f"the local Prefect server (process {pid}) did not answer within {seconds:.0f} s; its log is {log}",
        where=address,
        hint="Wait if the machine is busy; else `baseforge stop` ends it, and the next command starts it anew.",
    )


def not_a_prefect_server(address: str, reason: str) -> MachineError:
    """What answers at the address of the Prefect server is something else."""
    return MachineError(
        f"what answers here is not a Prefect server: {reason}",
        where=address,
        hint="Check PREFECT_API_URL: it ends with /api, as in http://prefect.example:4200/api.",
    )


def on_another_port(port: int, expected: int) -> MachineError:
    """The local Prefect server already runs on another port than the setting names now."""
    return MachineError(
        f"the local Prefect server runs on port {port}, not on {expected}",
        where="the setting `server_port`",
        hint="`baseforge stop` ends it; the next command starts it on the new port.",
    )
