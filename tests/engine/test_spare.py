"""Builds in forks of the spare process that an earlier command has left: the same images, the same ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.factory import Factory
from tests.support.outcome import Running, complains, start, stop
from tests.support.waiting import until

LONG = 60.0  # seconds
HELLO = ("hello", "--force")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, probe: bytes) -> Iterator[Factory]:
    """A site with a local server of its own, a spare process, and an image whose smoke test takes very long."""
    folder = tmp_path_factory.mktemp("spare")
    place = Factory(folder / "site", {"BASEFORGE_HOME": str(folder / "home")})
    place.folder.mkdir()
    place.shelf("hello")
    (folder / "probe").write_bytes(probe)
    recipes.checked(place, "slow", folder / "probe", "{run: [/probe, sleep, '600']}")
    place.built("hello")
    yield place
    place.run("stop")
    until(lambda: not spares(place), LONG)


@pytest.fixture
def spare(site: Factory) -> int:
    """The spare process, ready."""
    until(lambda: ready(site), LONG)
    (process,) = spares(site)
    return process


def spares(site: Factory) -> list[int]:
    """The processes that lend themselves, not those that are lent."""
    home, found = f"BASEFORGE_HOME={site.settings['BASEFORGE_HOME']}", {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            if b"flows.spare.lend" in words and home.encode() in environment:
                found[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return [process for process, parent in found.items() if parent not in found]


def ready(site: Factory) -> bool:
    return bool(list(Path(site.settings["BASEFORGE_HOME"]).glob("prefect/spare-*")))


def children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def slow(site: Factory) -> Running:
    """A build that is being tested."""
    running = start(site, "build", "slow")
    running.until(lambda _: any("baseforge-smoke-" in line for line in site.leftovers()))
    return running


def test_a_build_in_a_fork_makes_the_same_image(site, spare):
    stored = [build["manifest_digest"] for build in site.run("list", "--json").json]
    assert [build["manifest_digest"] for build in site.built(*HELLO)] == stored
    assert spares(site) == [spare]


def test_an_interrupted_one_leaves_nothing(site, spare):
    running = slow(site)
    assert len(children(spare)) == 1
    complains(stop(running, lambda _: True), 130, "interrupted; `baseforge list` shows")
    assert site.leftovers() == []
    assert (spares(site), children(spare)) == ([spare], [])


def test_a_killed_one_is_cleaned_up_after_by_the_next(site, spare):
    running = slow(site)
    with running.process:
        running.process.kill()
        running.end(within=LONG)
    until(lambda: not children(spare), LONG)
    assert site.leftovers() != []
    site.built(*HELLO)
    assert site.leftovers() == []


def test_the_environment_is_the_commands(site, spare, tmp_path):
    """A store of its own, which the spare process has never heard of."""
    done = site.run("build", "hello", "--json", env={"BASEFORGE_STORE": str(tmp_path / "other")})
    assert done.status == 0, done.stderr
    assert done.json[0]["status"] == "published"
    assert [path.parent.parent.name for path in tmp_path.glob("other/images/*/builds/*.json")] == ["hello"]


def test_it_works_with_the_server_that_takes_the_place_of_a_killed_one(site, spare):
    said = Path(site.settings["BASEFORGE_HOME"]) / "prefect/server.json"
    killed = json.loads(said.read_text())
    os.kill(killed["pid"], signal.SIGKILL)
    site.built(*HELLO)
    assert json.loads(said.read_text()) != killed
    until(lambda: not spares(site), LONG)  # it knows the old one
    site.built(*HELLO)
    until(lambda: ready(site), LONG)
    assert spares(site) != [spare]


def test_another_server_has_another_spare_process(site, spare):
    assert site.run("stop").status == 0
    until(lambda: not spares(site), LONG)
    site.built(*HELLO)
    until(lambda: ready(site), LONG)
    assert spares(site) != [spare]
