"""Private Docker engines: one for a test session, and more for tests that stop it, kill it or use TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SLOWEST_START = 60.0  # seconds
RUNTIME = Path(__file__).parents[3] / "deploy/setup/runc-available-caps"
SYS_RESOURCE = 1 << 24  # capabilities(7)


class EngineMissing(Exception):
    """No private engine can be started here."""


@dataclass(frozen=True)
class Daemon:
    """A running engine: where it listens, and its process id."""

    address: str
    pid: int

    def send(self, number: signal.Signals) -> None:
        """Send the engine a signal."""
        os.kill(self.pid, number)


@contextlib.contextmanager
def dockerd(options: Sequence[str] = (), place: str | None = None) -> Iterator[Daemon]:
    """An engine of the machine's version, with all it keeps in a folder in `place`, by default that of temporary files;
    at the end both are gone.
    """
    program = _program()
    folder = Path(tempfile.mkdtemp(prefix="dockerd-", dir=place))  # a socket's path has 107 bytes at most
    socket = folder / "d.sock"
    places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    # With --bridge=none an engine deletes the docker0 of whoever else has one in its network namespace; and when it is
    # killed, its containers and mounts are gone only with the other two.
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    argv = [*apart, program, f"--host=unix://{socket}", *places, *network, *_runtime(), *options]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(socket, process, folder / "dockerd.log")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        yield Daemon(f"unix://{socket}", int(children.read_text()))
    finally:
        process.kill()
        process.wait()
        remove(folder)


def _program() -> str:
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        raise EngineMissing("dockerd is not installed: apt-get install docker.io, or run tests/run, which does that")
    if os.geteuid() != 0:
        raise EngineMissing("The tests start a Docker engine of their own, and only root can do that: sudo tests/run")
    return program


def lacks_capability() -> bool:
    """Whether privileged containers run only by RUNTIME here: the machine cannot grant them every capability."""
    bounding = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
    return not int(bounding.split()[1], 16) & SYS_RESOURCE


def _runtime() -> list[str]:
    if not lacks_capability():
        return []
    if not shutil.which("jq"):
        raise EngineMissing("jq is not installed: apt-get install jq, or run tests/run, which does that")
    return [f"--add-runtime=available-caps={RUNTIME}", "--default-runtime=available-caps"]


def _wait(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SLOWEST_START
    ask = ["docker", "--host", f"unix://{socket}", "version"]
    while subprocess.run(ask, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise EngineMissing(f"dockerd does not start; its log ends with:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def remove(folder: Path) -> None:
    """The last process of the namespaces may take a moment to go, and its mounts with it."""
    until = time.monotonic() + SLOWEST_START
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        assert time.monotonic() < until, f"{folder} cannot be removed"
