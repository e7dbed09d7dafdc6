"""How buildx is called, with a docker command that does as it is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.builders import buildx
from flows.builders.buildx import Buildx, created, driver_options, name_of
from flows.builders.docker import Docker
from flows.builders.engine import Engine
from flows.image.oci import Image, blob_path
from rootfs import run as door
from rootfs.errors import BuilderFailed, BuildxMissing, DigestMismatch
from tests.unit.image.samples import image_of

NO_ENGINE = cast(Engine, None)
Stub = Callable[[str], Path]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Makes a docker command of a few lines of sh, which also writes down how it was called."""

    def make(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        calls = tmp_path / "calls"
        (folder / "docker").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n{script}\n')
        (folder / "docker").chmod(0o755)
        monkeypatch.setattr(door, "SYSTEM_PATH", f"{folder}:{door.SYSTEM_PATH}")
        return calls

    return make


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of({"file": b"content"}, tmp_path / "made: a, b", name="a.b-c")


def builder(log: list[str] | None = None) -> Buildx:
    return Buildx(NO_ENGINE, name_of("1"), "docker-container", (log if log is not None else []).append)


def test_a_builder_comes_and_goes(docker: Stub) -> None:
    calls = docker("echo said")
    log: list[str] = []
    with created(builder(log), "--driver-opt", "a=b"):
        during = len(calls.read_text().splitlines())
    assert during == 3
    assert calls.read_text().splitlines() == [
        "buildx version",
        "buildx create --name baseforge-1 --driver docker-container --driver-opt a=b",
        "buildx inspect --bootstrap baseforge-1",
        "buildx rm --force baseforge-1",
    ]
    assert log == ["said"] * 3


@pytest.mark.parametrize("step", ["create", "inspect"])
def test_a_builder_that_does_not_start_is_removed(step: str, docker: Stub) -> None:
    calls = docker(f'[ "$2" != {step} ] || {{ echo "#1 ERROR: x"; echo "ERROR: it rains"; exit 1; }}')
    with pytest.raises(BuilderFailed, match=r"ing failed: it rains\n") as caught, created(builder()):
        pass
    assert caught.value.where == "builder baseforge-1 (docker-container)"
    assert calls.read_text().splitlines()[-1] == "buildx rm --force baseforge-1"


def test_what_cannot_be_removed_does_not_hide_why(docker: Stub) -> None:
    docker('[ "$2" = version ] || { echo "ERROR: $2"; exit 1; }')
    with pytest.raises(BuilderFailed, match="creating failed: create"), created(builder()):
        pass


def test_a_docker_command_without_buildx(docker: Stub) -> None:
    calls = docker("echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    with pytest.raises(BuildxMissing), created(builder()):
        pass
    assert calls.read_text().splitlines() == ["buildx version"]


def test_a_builder_that_hangs(docker: Stub) -> None:
    docker("sleep 60")
    with pytest.raises(BuilderFailed, match=r"dreaming failed: it took more than 0\.2 s"):
        builder().call("dreaming", "build", wait=0.2)


def test_buildx_sees_the_choice_of_the_engine_alone(docker: Stub, tmp_path: Path, monkeypatch: Any) -> None:
    docker(f"env >{tmp_path}/env")
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    monkeypatch.setenv("BUILDX_BUILDER", "another")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    builder().call("looking", "ls", wait=10)
    seen = (tmp_path / "env").read_text().splitlines()
    assert "DOCKER_CONTEXT=elsewhere" in seen
    assert not [line for line in seen if line.startswith(("BUILDX_BUILDER=", "SOURCE_DATE_EPOCH="))]


def sending_back(manifest: str) -> str:
    """A builder's script that sends back the layout it got, with this shell command run on it."""
    return f"cp -r layout back; cd back; {manifest}"


def test_an_image_comes_back(docker: Stub, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(sending_back("true"))
    loaded: list[Image] = []

    def load(self: Docker, image: Image) -> str:
        assert image.layer.path.is_file()
        loaded.append(image)
        return "its id"

    monkeypatch.setattr(Docker, "import_image", load)
    assert builder().import_image(image) == "its id"
    (came,) = loaded
    assert came.layout != image.layout
    assert came == replace(image, layout=came.layout, layer=replace(image.layer, path=came.layer.path))
    assert sorted(path.name for path in image.layout.parent.iterdir()) == ["layer.tar.zst", "layout"]


@pytest.mark.parametrize("change", ["config", "bytes", "two", "none"])
def test_what_is_not_as_it_was_sent_is_refused(change: str, docker: Stub, image: Image, tmp_path: Path) -> None:
    index = json.loads((image.layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifests = {"config": [{**entry, "digest": image.config_digest}], "two": [entry, entry], "none": []}
    (tmp_path / "index").write_text(json.dumps({**index, "manifests": manifests.get(change, [entry])}))
    blob = blob_path(Path(), image.manifest_digest)
    docker(sending_back(f"cp {tmp_path}/index index.json; [ {change} != bytes ] || echo >>{blob}"))
    with pytest.raises(DigestMismatch, match=f"{image.manifest_digest} went in"):
        builder().import_image(image)
    assert sorted(path.name for path in image.layout.parent.iterdir()) == ["layer.tar.zst", "layout"]


@given(st.dictionaries(st.sampled_from(["image", "env.A", "cacert"]), st.text("a=,\"' /\\", min_size=1)))
def test_options_are_lines_of_csv(options: dict[str, str]) -> None:
    words = driver_options(options)
    assert words[::2] == ["--driver-opt"] * len(options)
    read = [next(csv.reader([word])) for word in words[1::2]]
    assert read == [[f"{key}={value}"] for key, value in options.items()]


def test_the_platform_is_the_image_s_own(docker: Stub, image: Image) -> None:
    calls = docker(sending_back("false"))
    with pytest.raises(BuilderFailed):
        builder().import_image(replace(image, architecture="armhf"))
    assert "--platform=linux/arm/v7" in calls.read_text()
    assert buildx.DOCKERFILE == "FROM base\n"
