"""Images through BuildKit in a container."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from flows.builders.buildx import Buildx
from flows.builders.container import container, remove_leftovers
from rootfs.errors import BuilderFailed, BuildxMissing
from tests.engine.builders.conftest import Workshop
from tests.engine.builders.through import builds_the_example, passes_unchanged, samples, tampering_is_caught
from tests.engine.buildkit import IMAGE

OPTIONS = {"image": IMAGE, "network": "none", "env.COMMAS": 'a,b "c"'}
TAMPERING = ["FROM base\nLABEL added=1\n", "FROM base\nCOPY Dockerfile /\n", "FROM scratch\nCOPY Dockerfile /\n"]


def test_an_image_comes_back_as_it_went_in(
    workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, log = str(uuid.uuid4()), list[str]()
    with container(workshop.engine, run_id, options=OPTIONS, log=log.append) as builder:
        assert (builder.name, builder.driver) == (f"baseforge-{run_id}", "docker-container")
        (node,) = workshop.engine.client.api.containers()
        details = workshop.engine.client.api.inspect_container(node["Id"])
        assert 'COMMAS=a,b "c"' in details["Config"]["Env"]
        images = samples(tmp_path, example / "hello")
        passes_unchanged(builder, images)
        builds_the_example(workshop.engine, builder.name, example)
        for dockerfile in TAMPERING:
            tampering_is_caught(builder, images[0], monkeypatch, dockerfile)
    assert any("booting buildkit" in line for line in log)
    assert any(f"exporting manifest {images[0].manifest_digest}" in line for line in log)
    assert workshop.leftovers() == []


def test_docker_s_own_example_through_the_engine_itself(workshop: Workshop, example: Path) -> None:
    builds_the_example(workshop.engine, "default", example)


def test_a_builder_that_fails_is_removed(workshop: Workshop) -> None:
    made = list[str]()

    def fail() -> None:
        with container(workshop.engine, "fails", options=OPTIONS, log=print):
            made.extend(workshop.leftovers())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(made) == 3
    assert workshop.leftovers() == []


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.5])
def test_an_interrupt_leaves_nothing(seconds: float, workshop: Workshop) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with (
        pytest.raises(KeyboardInterrupt),
        container(workshop.engine, "interrupted", options=OPTIONS, log=print),
    ):
        time.sleep(20)
    assert workshop.leftovers() == []


def test_what_a_killed_run_left_is_found_by_its_id(workshop: Workshop) -> None:
    builder = Buildx(workshop.engine, "baseforge-killed", "docker-container", print)
    builder.call("creating", "create", "--name", builder.name, "--driver-opt", f"image={IMAGE},network=none", wait=60)
    builder.call("starting", "inspect", "--bootstrap", builder.name, wait=60)
    remove_leftovers(workshop.engine, "killed")
    assert workshop.leftovers() == [builder.name]
    builder.call("removing", "rm", "--force", builder.name, wait=60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "localhost:1/nothing"}, "starting failed:.*localhost:1"),
        ({"image": IMAGE, "network": "nonesuch"}, "starting failed:.*nonesuch"),
        ({"colour": "red"}, "creating failed:.*colour"),
    ],
)
def test_a_builder_that_cannot_start_says_why(options: dict[str, str], said: str, workshop: Workshop) -> None:
    started = time.monotonic()
    with (
        pytest.raises(BuilderFailed, match=said) as caught,
        container(workshop.engine, "bad", options=options, log=print),
    ):
        pass
    assert time.monotonic() - started < 15
    assert len(str(caught.value).splitlines()) <= 3
    assert workshop.leftovers() == []


def test_a_docker_command_without_buildx(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "docker/cli-plugins/docker-buildx").unlink()
    with (
        pytest.raises(BuildxMissing, match="no buildx") as caught,
        container(workshop.engine, "missing", options=OPTIONS, log=print),
    ):
        pass
    assert caught.value.status == 3
    assert workshop.leftovers() == []
