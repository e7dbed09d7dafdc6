"""Container engines that do not run or stop during a build: the build ends soon with the reason."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import recipes
from tests.support.factory import LABEL, Factory
from tests.support.outcome import complains, start
from tests.support.services.dockerd import Daemon, dockerd

SOON = 30.0  # seconds from the engine's end to ours
Recipe = Callable[[Factory], None]


def test_no_engine(site):
    done = site.run("build", "tiny", "--force", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    complains(done, 3, "unix:///nowhere.sock: the container engine does not answer", "Start it")
    assert "tree" not in done.stderr


@pytest.fixture
def private() -> Iterator[Daemon]:
    """An engine that a test may kill."""
    with dockerd() as daemon:
        yield daemon


def containers(daemon: Daemon) -> str:
    words = ["docker", "--host", daemon.address, "ps", "--quiet", "--filter", f"label={LABEL}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def killed(site: Factory, daemon: Daemon, condition: Callable[[str], bool], pause: float) -> str:
    """Kill the engine when the condition holds; what the command says then."""
    running = start(site, "build", "victim", env={"DOCKER_HOST": daemon.address})
    with running.process:
        try:
            running.until(condition)
            time.sleep(pause)
            daemon.send(signal.SIGKILL)
            return complains(running.end(SOON), 3, daemon.address, "the container engine broke off while", "start it")
        finally:
            running.process.kill()


def test_an_engine_that_is_killed_during_a_smoke_test(site, private, probe):
    recipes.checked(site, "victim", probe, "{run: [/probe, sleep, '600']}")
    assert "a smoke test" in killed(site, private, lambda _: bool(containers(private)), 0.2)


def test_an_engine_that_is_killed_during_an_import(site, private):
    recipes.random_data(site, "victim", 300)
    packing = killed(site, private, lambda _: any(site.runs.glob("*/*/layer.tar.zst")), 0.4)  # the layer is on its way
    assert "looking for" in packing or "loading victim" in packing
