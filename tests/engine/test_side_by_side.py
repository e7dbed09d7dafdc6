"""Several images at once: base images first, failures apart, one builder for a night, one interrupt for all."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.factory import Factory
from tests.support.outcome import SLOWEST_END, complains, start, stop

NAMES = ("one", "two", "three")
UPPER = "FROM base\nCOPY new /new\n"
SLEEP = "{run: [/probe, sleep, '5']}"


@pytest.fixture
def site(tmp_path: Path, probe: bytes) -> Iterator[Factory]:
    """A site with three images whose smoke tests take some seconds each."""
    place = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "beside", "BASEFORGE_PARALLEL": "2"})
    place.folder.mkdir()
    (tmp_path / "probe").write_bytes(probe)
    for name in NAMES:
        recipes.checked(place, name, tmp_path / "probe", SLEEP)
    yield place
    place.remove_images()


def containers(site: Factory) -> int:
    """How many smoke tests run now."""
    return sum("baseforge-smoke-" in line for line in site.leftovers())


def test_as_many_images_as_the_setting_says_are_built_at_once(site: Factory) -> None:
    assert site.run("page").status == 0  # starts the Prefect server
    most = 0
    with (running := start(site, "build", *NAMES, "--force", "--json")).process:
        while running.process.poll() is None:
            most = max(most, containers(site))
            time.sleep(0.2)
        done = running.end(SLOWEST_END)
    assert done.status == 0, done.stderr
    assert most == 2
    assert [build["image"] for build in done.json] == list(NAMES)  # in the order of the command
    assert {build["status"] for build in done.json} == {"published"}
    for build in done.json:
        log = site.run("log", f"{build['image']}@{build['build']}").stdout
        assert "/probe sleep 5" in log
        assert log.count("$ /probe") == 1  # of no other image
        assert {"tree", "pack", "import", "smoke"} <= set(build["seconds"])
    assert site.leftovers() == []


@pytest.mark.usefixtures("workshop")  # which brings buildx
def test_an_image_begins_when_its_base_images_have_ended(site: Factory) -> None:
    site.recipe("upper", "kind: dockerfile\ncontexts: {base: one}\n", Dockerfile=UPPER, new="x")
    done = site.run("build", "upper", "two", "--json")
    assert [build["image"] for build in done.json] == ["one", "upper", "two"]
    assert {build["image"]: build["status"] for build in done.json}["two"] == "published"
    lines = done.stderr.splitlines()
    base = next(number for number, line in enumerate(lines) if line.startswith("✓ name one"))
    above = next(number for number, line in enumerate(lines) if line.startswith("✓ resolve upper"))
    assert base < above


@pytest.mark.usefixtures("workshop")
def test_a_failure_stops_only_the_images_that_build_on_it(site: Factory) -> None:
    site.recipe(
        "upper", "kind: dockerfile\ncontexts: {base: wrong}\n", Dockerfile="FROM base\nCOPY new /new\n", new="x"
    )
    site.recipe("wrong", "kind: scratch\nfiles: [{path: /x, content: x}]\nsmoke: [{run: [/nothing]}]\n")
    done = site.run("nightly", "--json")
    assert done.status == 1
    ended = {build["image"]: build["status"] for build in done.json["builds"]}
    assert ended == {**dict.fromkeys(NAMES, "published"), "wrong": "failed", "upper": "held"}
    assert "wrong" in next(build["reason"] for build in done.json["builds"] if build["image"] == "upper")
    assert site.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["build", *NAMES], ["nightly"]], ids=["build", "nightly"])
def test_an_interrupt_ends_all_of_them(site: Factory, words: list[str], number: signal.Signals) -> None:
    done = stop(start(site, *words), lambda _: containers(site) == 2, number)
    complains(done, 130, "interrupted; `baseforge list` shows")
    assert site.leftovers() == []
    assert site.builds() == []
    assert json.loads(site.run("list", "--json").stdout) == []
