"""Builders that do not start, break down or fill their disk: a replacement helps, else the reason is shown."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.builders import lifecycle as life
from flows.builders.image_import import EngineBuilder, import_image, tag
from rootfs.errors import MachineError
from rootfs.recipe.sections import ImageSettings
from tests.engine.builders.through import ephemeral
from tests.support import recipes
from tests.support.factory import Done, Factory
from tests.support.outcome import complains, start
from tests.support.samples import image_of
from tests.support.services.buildkit import IMAGE, buildkitd
from tests.support.services.workshop import Workshop

LOCAL_NAME = "baseforge-health"
SLEEPER = "baseforge/sleeper:latest"  # its BuildKit never answers
OPTIONS = {"image": IMAGE, "network": "none"}
SOON = 30.0  # seconds from a breakdown to the end of a build that has no other builder
LARGE = 80  # megabytes, which take a while to come through
BEGUN = "load build definition"  # in what buildx prints once it has reached a builder
RETRIED = "Trying once more, on a fresh builder."


@dataclass(frozen=True)
class Place:
    """A site whose images go through a builder that is not well."""

    site: Factory
    workshop: Workshop

    def describe(self, lifecycle: str, options: dict[str, str] | None = None, **more: Any) -> None:
        """What the site says of its builder `own`."""
        said = {"lifecycle": lifecycle, **more} | ({"options": options} if options else {})
        lines = [f"{key} = {_toml(value)}" for key, value in said.items()]
        text = "\n".join(['builder = "own"', "[builders.own]", *lines])
        (self.site.folder / "baseforge.toml").write_text(f"{text}\n")

    def build(self, *words: str) -> Done:
        return self.site.run("build", "tiny", "--json", *words, timeout=120)

    def broken_off(self, breakdown: Callable[[], object]) -> Done:
        """A build of a large image whose builder breaks down in the middle of the import."""
        recipes.random_data(self.site, "large", LARGE)
        logs = Path(self.site.environment["BASEFORGE_HOME"]) / "logs/large"
        before = set(logs.glob("*"))
        running = start(self.site, "build", "large", "--json")
        with running.process:
            try:
                running.until(lambda _: any(BEGUN in log.read_text() for log in {*logs.glob("*")} - before))
                breakdown()
                return running.end(90)
            finally:
                running.process.kill()

    def kill(self, node: str) -> None:
        self.workshop.engine.client.api.kill(f"buildx_buildkit_{node}")

    def ours(self) -> list[str]:
        """What is there of builders that go with a run."""
        return [name for name in self.workshop.leftovers() if "baseforge-" in name]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, timeout=60)


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path) -> Iterator[Place]:
    site = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    site.folder.mkdir()
    site.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    made = Place(site, workshop)
    yield made
    assert made.ours() == []
    for name in ("own", "tight"):
        subprocess.run(["docker", "buildx", "rm", "--force", name], capture_output=True, check=False, timeout=60)
    assert workshop.leftovers() == []
    assert site.leftovers() == []
    for image in workshop.engine.client.images.list(filters={"reference": f"{LOCAL_NAME}/*"}):
        workshop.engine.client.api.remove_image(image.id, force=True)


@pytest.fixture
def sleeper(place: Place, probe: bytes, tmp_path: Path) -> Iterator[str]:
    """An image that starts and never answers."""
    settings = ImageSettings(entrypoint=("/probe", "sleep", "600"))
    image = image_of({"probe": probe}, tmp_path / "sleeper", settings)
    engine = place.workshop.engine
    tag(engine, import_image(image, EngineBuilder(engine)), SLEEPER)
    yield SLEEPER
    engine.client.api.remove_image(SLEEPER, force=True)


def helped(done: Done, why: str, *words: str) -> None:
    """It went well on a fresh builder, and says that it was one, and why."""
    assert done.status == 0, done.stderr
    for word in (*words, RETRIED, "✓ bootstrap docker-container", "✓ release docker-container"):
        assert word in done.stderr, f"{word!r} is not in {done.stderr}"
    [record] = done.json
    assert record["status"] == "published"
    assert re.fullmatch(r"baseforge-[0-9a-f-]{36}-[12]x", record["builder"]["name"])
    assert record["builder"]["why"] == why
    assert record["builder"]["buildkit"].startswith("v0.")


def failed(place: Place, done: Done, status: int, *words: str) -> None:
    complains(done, status, *words)
    assert [record["status"] for record in done.json] == ["failed"]
    assert place.site.builds() == []


def test_an_image_that_is_not_there(place: Place) -> None:
    place.describe("ephemeral", {"image": "localhost:1/nothing", "network": "none"})
    done = place.build()
    failed(place, done, 1, "✗ bootstrap docker-container", "starting failed", "localhost:1/")
    assert RETRIED not in done.stderr


def test_a_broken_persistent_builder_and_its_replacement_are_reported(place: Place) -> None:
    place.describe("persistent", {"image": "localhost:1/nothing", "network": "none"})
    done = place.build()
    assert (done.status, place.site.builds()) == (1, [])
    assert RETRIED in done.stderr
    assert re.search(r"builder own \(docker-container\): starting failed.*localhost:1/", done.stderr)
    assert re.search(r"builder baseforge-\S+-1x \(docker-container\): starting failed", done.stderr)


def test_a_builder_that_never_answers_is_reported_in_time(place: Place, sleeper: str) -> None:
    place.describe("ephemeral", {"image": sleeper, "network": "none"}, timeout=3)
    started = time.monotonic()
    failed(place, place.build(), 1, "starting failed: it took more than")
    assert time.monotonic() - started < SOON


def test_an_existing_builder_that_is_not_buildkit_is_reported(place: Place, sleeper: str) -> None:
    options = ",".join(f"{key}={value}" for key, value in OPTIONS.items())
    docker("buildx", "create", "--name=own", "--driver=docker-container", f"--driver-opt={options}")
    docker("run", "--detach", "--network=none", "--stop-timeout=0", "--name=buildx_buildkit_own0", sleeper)
    place.describe("existing", timeout=5)
    done = place.build()
    why = "the setting `builder`; own had failed"
    helped(done, why, "✗ bootstrap own", "builder own (docker-container): starting failed")


@pytest.mark.parametrize("lifecycle", ["persistent", "existing"])
def test_a_builder_that_dies_is_replaced_by_an_ephemeral_one(lifecycle: str, place: Place) -> None:
    if lifecycle == "existing":
        options = ",".join(f"{key}={value}" for key, value in OPTIONS.items())
        docker("buildx", "create", "--name=own", "--driver=docker-container", f"--driver-opt={options}")
    place.describe(lifecycle, OPTIONS if lifecycle == "persistent" else None)
    done = place.broken_off(lambda: place.kill("own0"))
    why = "the setting `builder`; own had failed"
    helped(done, why, "✗ import large", "builder own (docker-container): importing failed")


def test_an_ephemeral_builder_that_dies_is_replaced(place: Place) -> None:
    place.describe("ephemeral", OPTIONS)

    def kill() -> None:
        [node] = [name for name in place.ours() if name.startswith("/")]
        place.kill(node.removeprefix("/buildx_buildkit_"))

    done = place.broken_off(kill)
    [record] = done.json
    helped(done, record["builder"]["why"], "✗ import large", "importing failed")
    assert re.fullmatch(r"the setting `builder`; baseforge-\S+-1x had failed", record["builder"]["why"])


def test_a_disk_that_is_full(place: Place) -> None:
    tmpfs = [f"--opt={option}" for option in ("type=tmpfs", "device=tmpfs", "o=size=20m")]
    docker("volume", "create", "--driver=local", *tmpfs, "buildx_buildkit_tight0_state")
    place.describe("persistent", OPTIONS, name="tight")
    recipes.random_data(place.site, "large", 40)
    done = place.site.run("build", "large", "--json", timeout=120)
    why = "the setting `builder`; tight had failed"
    helped(done, why, "✗ import large", "builder tight (docker-container): importing failed", "no space left on device")


def test_a_remote_builder_that_dies_is_reported(place: Place) -> None:
    with buildkitd() as daemon:
        place.describe("ephemeral", driver="remote", endpoint=daemon.address)
        done = place.broken_off(lambda: daemon.send(signal.SIGKILL))
    failed(place, done, 1, "✗ import large", "(remote): importing failed")
    assert RETRIED not in done.stderr


@pytest.mark.parametrize("lifecycle", ["ephemeral", "persistent"])
def test_a_missing_remote_builder_is_reported(lifecycle: str, place: Place) -> None:
    place.describe(lifecycle, driver="remote", endpoint="tcp://127.0.0.1:1")
    started = time.monotonic()
    failed(place, place.build(), 3, "tcp://127.0.0.1:1: the builder does not answer", "Check the address")
    assert time.monotonic() - started < SOON
    assert place.workshop.leftovers() == []


def test_a_missing_existing_remote_builder_is_reported(place: Place) -> None:
    docker("buildx", "create", "--name=own", "--driver=remote", "tcp://127.0.0.1:1")
    place.describe("existing", timeout=5)
    started = time.monotonic()
    failed(place, place.build(), 1, "builder own (remote): starting failed")
    assert time.monotonic() - started < SOON


def test_a_builder_with_an_old_buildkit_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "OLDEST", (99, 0))
    with (
        pytest.raises(MachineError, match=r"its BuildKit is v0\.\S+; 99\.0 is the oldest that will do") as caught,
        ephemeral(place.workshop.engine, "old", print, options=OPTIONS),
    ):
        pass
    assert caught.value.status == 3
