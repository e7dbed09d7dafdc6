"""A private Docker engine, for tests that stop it, kill it or speak TLS with it."""

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


@dataclass(frozen=True)
class Daemon:
    """A running engine: where it listens, and its process, which is the leader of its group."""

    address: str
    process: subprocess.Popen[bytes]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the engine alone (its containerd is a child of it)."""
        self.process.send_signal(number)


@contextlib.contextmanager
def dockerd(options: Sequence[str] = ()) -> Iterator[Daemon]:
    """An engine of the machine's version; at the end it and all it kept are gone."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "dockerd is not installed: apt-get install docker.io"
    folder = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/tmp"))  # a socket's path has 107 bytes at most
    socket = folder / "d.sock"
    places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    # In a network namespace of its own: with --bridge=none an engine deletes the docker0 of whoever else has one.
    argv = ["unshare", "--net", program, f"--host=unix://{socket}", *places, *network, *options]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(socket, process, folder / "dockerd.log")
        yield Daemon(f"unix://{socket}", process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _unmount_below(folder)
        shutil.rmtree(folder)


def _await(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SLOWEST_START
    ask = ["docker", "--host", f"unix://{socket}", "version"]
    while subprocess.run(ask, capture_output=True, check=False).returncode:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.1)


def _unmount_below(folder: Path) -> None:
    """A killed engine leaves mounts behind."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)
