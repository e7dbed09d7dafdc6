"""Ctrl-C at every step: the command ends within seconds with status 130 and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.faults import archives
from tests.support import recipes
from tests.support.factory import Done, Factory
from tests.support.outcome import SLOWEST_END, Condition, complains, start, stop

PACKAGES = f"kind: debootstrap\nsuite: {archives.SUITE}\npockets: []\n"


def interrupted(done: Done) -> None:
    complains(done, 130, "interrupted; `baseforge list` shows")


def appears(site: Factory, pattern: str) -> Condition:
    """Whether something of this name is in the work folder."""
    return lambda _: any(site.runs.glob(pattern))


def container(site: Factory) -> Condition:
    """Whether a smoke test's container is there."""
    return lambda _: any("baseforge-smoke-" in line for line in site.leftovers())


@pytest.fixture
def sleeper(site: Factory, probe: Path) -> Factory:
    """A site with an image whose smoke test takes very long."""
    recipes.checked(site, "slow", probe, "{run: [/probe, sleep, '600']}")
    return site


def test_while_resolving(site):
    site.recipe("packages", PACKAGES)
    with archives.silent() as server:
        running = start(site, "build", "packages", env=archives.mirrored(f"http://{server.address}"))
        interrupted(stop(running, lambda _: server.called.is_set()))


@pytest.mark.parametrize(
    ("engine", "place"),
    [
        ("mmdebstrap", "*/*/tree/tree/usr/bin/dpkg"),
        ("debootstrap", "*/*/tree/tree/var/lib/dpkg/info/base-files.list"),
        ("mmdebstrap", "*/*/tree/tree/usr/bin/apt-get"),
    ],
    ids=["mmdebstrap", "debootstrap", "the rest"],
)
def test_while_an_engine_makes_the_tree(site, engine, place):
    site.recipe("packages", PACKAGES)
    shutil.rmtree(Path(site.environment["BASEFORGE_HOME"]) / "cache/kept", ignore_errors=True)
    interrupted(stop(start(site, "build", "packages", "--engine", engine), appears(site, place)))


def test_while_a_command_of_the_recipe_runs(site):
    recipes.commands(site, "slow", "sleep 600 & touch made; sleep 600")
    interrupted(stop(start(site, "build", "slow"), appears(site, "*/*/tree/build/made")))


def test_while_packing(site):
    recipes.random_data(site, "large", 400)
    interrupted(stop(start(site, "build", "large"), appears(site, "*/*/layer.tar.zst"), pause=0.1))


def test_while_importing(site):
    recipes.random_data(site, "large", 300)
    interrupted(stop(start(site, "build", "large"), lambda said: "✓ assemble" in said, pause=0.2))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_a_smoke_test_runs(sleeper, number):
    interrupted(stop(start(sleeper, "build", "slow"), container(sleeper), number))


def test_while_publishing(site, probe):
    recipes.checked(site, "pushed", probe, "{run: [/probe, say, hi]}")
    with archives.silent() as server:
        settings = {"BASEFORGE_REGISTRY": f"{server.address}/x", "BASEFORGE_REGISTRY_INSECURE": "true"}
        running = start(site, "build", "pushed", env=settings)
        interrupted(stop(running, lambda _: server.called.is_set(), pause=0.2))


def test_an_interrupted_night_ends(sleeper):
    interrupted(stop(start(sleeper, "nightly"), container(sleeper)))


def test_a_second_interrupt_does_not_stop_the_clean_up(sleeper):
    with (running := start(sleeper, "build", "slow")).process:
        running.until(container(sleeper))
        for _ in range(5):
            os.killpg(running.process.pid, signal.SIGINT)
            time.sleep(0.05)
        interrupted(running.end(SLOWEST_END))


def test_the_next_run_removes_what_a_killed_run_left(sleeper):
    with (running := start(sleeper, "build", "slow")).process:
        running.until(container(sleeper))
        time.sleep(0.2)
        running.process.kill()
        running.end(5)
    assert any(str(sleeper.work) in left for left in sleeper.leftovers())
    assert sleeper.run("build", "tiny", "--force", "--no-publish").status == 0
