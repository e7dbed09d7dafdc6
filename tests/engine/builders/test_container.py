"""Images through BuildKit in a container."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest
from docker.types import DeviceRequest

from flows.builders import docker_container, lifecycle
from flows.builders.errors import BuilderFailed, BuildxMissing
from rootfs.errors import InputError
from rootfs.recipe.builder import BuilderPlan
from tests.engine.builders.through import builds_the_example, ephemeral, holds_for_every_driver
from tests.support.services.buildkit import IMAGE
from tests.support.services.workshop import Workshop

OPTIONS = {"image": IMAGE, "network": "none", "env.COMMAS": 'a,b "c"'}


def test_an_image_comes_back_unchanged(
    workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, log = str(uuid.uuid4()), list[str]()
    with ephemeral(workshop.engine, run_id, log.append, options=OPTIONS) as builder:
        assert (builder.name, builder.driver) == (f"baseforge-{run_id}-1x", "docker-container")
        (node,) = workshop.engine.client.api.containers()
        details = workshop.engine.client.api.inspect_container(node["Id"])
        assert 'COMMAS=a,b "c"' in details["Config"]["Env"]
        holds_for_every_driver(builder, tmp_path, example, monkeypatch, log)
    assert any("booting buildkit" in line for line in log)
    assert workshop.leftovers() == []


def test_docker_s_own_example_builds_through_the_engine(workshop: Workshop, example: Path) -> None:
    builds_the_example(workshop.engine, "default", example)


def test_a_builder_that_fails_is_removed(workshop: Workshop) -> None:
    made = list[str]()

    def fail() -> None:
        with ephemeral(workshop.engine, "fails", print, options=OPTIONS):
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
    with pytest.raises(KeyboardInterrupt), ephemeral(workshop.engine, "interrupted", print, options=OPTIONS):
        time.sleep(20)
    assert workshop.leftovers() == []


def test_containers_of_a_killed_gpu_check_are_removed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a container for that, without a name, and starts it a moment later."""
    api = workshop.engine.client.api
    asking = {"auto_remove": True, "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]}
    for command, options in (("/bin/true", asking), ("/bin/false", asking), ("/bin/true", {"auto_remove": True})):
        host = api.create_host_config(network_mode="none", **options)
        api.create_container(IMAGE, entrypoint=command, host_config=host)
    monkeypatch.setattr(docker_container, "STARTED", 60.0)
    docker_container.remove_leftovers("baseforge-none-")
    assert len(api.containers(all=True)) == 3  # it may still be started
    monkeypatch.setattr(docker_container, "STARTED", -1.0)
    docker_container.remove_leftovers("baseforge-none-")
    others = api.containers(all=True)
    assert sorted(each["Command"] for each in others) == ["/bin/false", "/bin/true"]
    for each in others:
        api.remove_container(each["Id"], v=True)
    assert workshop.leftovers() == []


def test_what_a_killed_run_left_is_found_by_its_name(workshop: Workshop) -> None:
    """buildx still has an entry then, which only buildx removes."""
    plan = BuilderPlan(lifecycle="ephemeral", options=OPTIONS)
    taken = lifecycle.acquire(plan, plan.driver, "killed", 1, print)
    lifecycle.start(taken, print)
    docker_container.remove_leftovers("baseforge-killed-")
    assert workshop.leftovers() == [taken.name]
    lifecycle.remove(taken.name, taken.driver)
    assert workshop.leftovers() == []


@pytest.mark.parametrize(
    ("options", "refusal", "said"),
    [
        ({"image": "localhost:1/nothing"}, BuilderFailed, "starting failed:.*localhost:1"),
        ({"image": IMAGE, "network": "nonesuch"}, BuilderFailed, "starting failed:.*nonesuch"),
        ({"colour": "red"}, InputError, "cannot be created:.*colour"),
    ],
)
def test_a_builder_that_cannot_start_says_why(
    options: dict[str, str], refusal: type[Exception], said: str, workshop: Workshop
) -> None:
    started = time.monotonic()
    with pytest.raises(refusal, match=said) as caught, ephemeral(workshop.engine, "bad", print, options=options):
        pass
    assert time.monotonic() - started < 15
    assert len(str(caught.value).splitlines()) <= 3
    assert workshop.leftovers() == []


def test_a_docker_command_without_buildx(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "docker/cli-plugins/docker-buildx").unlink()
    with (
        pytest.raises(BuildxMissing, match="no buildx") as caught,
        ephemeral(workshop.engine, "missing", print, options=OPTIONS),
    ):
        pass
    assert caught.value.status == 3
    assert workshop.leftovers() == []
