"""BuildKit for tests: as a daemon, and as an image that Baseforge builds."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.factory import SHELF, Factory
from tests.support.services.dockerd import remove
from tests.support.services.tools import is_being_built, tool

RECIPE = SHELF / "buildkit/buildkit.yaml"
IMAGE = "baseforge/buildkit:latest"
PUBLIC = "moby/buildkit:buildx-stable-1"  # what buildx takes by itself
SLOWEST_START = 60.0  # seconds


def build_image(folder: Path, address: str) -> None:
    """Have the factory build the recipe into the engine at this address; where buildkitd could not be built for want of
    Go, the engine pulls the public image instead.
    """
    if not is_being_built() and not shutil.which("buildkitd"):
        for words in (["pull", "--quiet", PUBLIC], ["tag", PUBLIC, IMAGE]):
            subprocess.run(["docker", "--host", address, *words], check=True, timeout=600)
        return
    factory = Factory(folder, {"DOCKER_HOST": address})
    factory.recipe("buildkit", RECIPE.read_text())
    (factory.recipes / "buildkit").mkdir()
    for name in ("buildkitd", "buildctl"):
        shutil.copy(tool(name), factory.recipes / "buildkit")
    done = factory.run("build", "buildkit")
    assert done.status == 0, done.stderr


@dataclass(frozen=True)
class Buildkitd:
    """A running daemon: the port of 127.0.0.1 where it listens, and its process id."""

    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@contextlib.contextmanager
def buildkitd(options: Sequence[str] = ()) -> Iterator[Buildkitd]:
    """A daemon; at the end it and all it kept are gone."""
    folder = Path(tempfile.mkdtemp(prefix="buildkitd-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    places = [f"--root={folder}/root", f"--addr=tcp://127.0.0.1:{port}", "--oci-worker-binary=runc"]
    argv = [*apart, tool("buildkitd"), *places, "--oci-worker=true", "--containerd-worker=false", *options]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until = time.monotonic() + SLOWEST_START
        while not Buildkitd(port, 0).answers:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield Buildkitd(port, int(children.read_text()))
    finally:
        ours = [Path(f"/proc/{child}") for child in (children.read_text().split() if children.exists() else [])]
        process.kill()
        process.wait()
        while any(child.exists() for child in ours):  # it dies with its parent, but not at once
            time.sleep(0.02)
        remove(folder)
