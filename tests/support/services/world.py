"""Namespaces for programs that write to many places of a machine, with a log for each program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.services.dockerd import remove
from tests.support.services.tools import tool

SLOWEST_START = 120.0  # seconds
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
GATEWAY = "10.98.0.1"  # of the bridge cni0, for whoever wants to connect containers

# The kubelet and containerd write all over the machine and set kernel settings: here into nothing that stays.
SCRIPT = f"""
for place in /run /var/lib /var/log /opt; do mount -t tmpfs tmpfs "$place"; done
for key in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \\
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    mkdir -p "/run/sysctl/$key" && cat "/proc/sys/$key" >"/run/sysctl/$key/value"
    mount --bind "/run/sysctl/$key/value" "/proc/sys/$key"
done
ip link set lo up
ip link add cni0 type bridge && ip address add {GATEWAY}/24 dev cni0 && ip link set cni0 up
echo up
sleep infinity & wait # a shell, because somebody must reap what containerd's shims leave
"""


@dataclass(frozen=True)
class World:
    """The namespaces with what runs in them; they end when the first process of theirs does."""

    folder: Path
    first: int
    started: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, *argv: str | Path) -> None:
        """Start a program in there; what it prints goes to a log of its own."""
        enter = ["nsenter", f"--target={self.first}", "--net", "--mount", "--pid"]
        program = shutil.which(argv[0], path=PATH) or tool(str(argv[0]))
        with self.log(name).open("wb") as log:
            self.started[name] = subprocess.Popen(
                [*enter, program, *argv[1:]], env={**os.environ, "PATH": PATH, "HOME": "/run"}, stdout=log, stderr=log
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Until it is ready; what failed, or did not become ready in time, shows the end of its log."""
        until = time.monotonic() + SLOWEST_START
        while not ready():
            for each, process in self.started.items():
                assert process.poll() is None, f"{each} ended: {self.log(each).read_text()[-3000:]}"
            assert time.monotonic() < until, f"{name} is not ready: {self.log(name).read_text()[-3000:]}"
            time.sleep(0.1)


@contextlib.contextmanager
def world(prefix: str) -> Iterator[World]:
    """A new one; at the end it and all it kept are gone."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # a socket's path has 107 bytes at most
    try:
        with _cgroups(folder.name), _namespaces(folder) as made:
            yield made
    finally:
        remove(folder)


@contextlib.contextmanager
def _namespaces(folder: Path) -> Iterator[World]:
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    argv = [*apart, "sh", "-ec", SCRIPT]
    process = subprocess.Popen(argv, env={**os.environ, "PATH": PATH}, stdout=subprocess.PIPE, start_new_session=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        yield World(folder, int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()), started)
    finally:
        process.kill()
        process.communicate()
        for each in started.values():
            each.kill()  # nsenter stops with a program that was stopped
            each.wait()


@contextlib.contextmanager
def _cgroups(name: str) -> Iterator[None]:
    """A group of our own for the pods, in every hierarchy there is."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    groups = [Path(words[1], name) for words in lines if words[2] in ("cgroup", "cgroup2")]
    for group in groups:
        group.mkdir()
    try:
        yield
    finally:
        for group in groups:
            _remove_group(group)


def _remove_group(group: Path) -> None:
    """Its processes may take a moment to go."""
    until = time.monotonic() + SLOWEST_START
    while group.exists():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        assert time.monotonic() < until, f"{group} cannot be removed"
