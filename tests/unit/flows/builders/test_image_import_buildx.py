"""Images through buildx must come back unchanged; with a fake docker command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from flows.builders import image_import
from flows.builders.engine import Engine
from flows.builders.errors import BuilderFailed
from flows.builders.image_import import BuildxBuilder, EngineBuilder
from flows.image.oci import Image, blob_path
from rootfs.errors import BuildError
from tests.support.samples import image_of
from tests.unit.flows.builders.conftest import Stub

BUILDER = BuildxBuilder(cast(Engine, None), "mine", "docker-container", print)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of({"file": b"content"}, tmp_path / "made: a, b", name="a.b-c")


def sending_back(manifest: str) -> str:
    """A builder's script that sends back the layout it got, with this shell command run on it."""
    return f"cp -r layout back; cd back; {manifest}"


def test_an_image_comes_back(docker: Stub, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(sending_back("true"))
    loaded: list[Image] = []

    def load(self: EngineBuilder, image: Image) -> str:
        assert image.layer.path.is_file()
        loaded.append(image)
        return "its id"

    monkeypatch.setattr(EngineBuilder, "import_image", load)
    assert BUILDER.import_image(image) == "its id"
    (came,) = loaded
    assert came.layout != image.layout
    assert came == replace(image, layout=came.layout, layer=replace(image.layer, path=came.layer.path))
    assert sorted(path.name for path in image.layout.parent.iterdir()) == ["layer.tar.zst", "layout"]


@pytest.mark.parametrize("change", ["config", "bytes", "two", "none"])
def test_a_changed_image_is_refused(change: str, docker: Stub, image: Image, tmp_path: Path) -> None:
    index = json.loads((image.layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifests = {"config": [{**entry, "digest": image.config_digest}], "two": [entry, entry], "none": []}
    (tmp_path / "index").write_text(json.dumps({**index, "manifests": manifests.get(change, [entry])}))
    blob = blob_path(Path(), image.manifest_digest)
    docker(sending_back(f"cp {tmp_path}/index index.json; [ {change} != bytes ] || echo >>{blob}"))
    with pytest.raises(BuildError, match=f"{image.manifest_digest} went in"):
        BUILDER.import_image(image)
    assert sorted(path.name for path in image.layout.parent.iterdir()) == ["layer.tar.zst", "layout"]


def test_an_interrupted_builder_says_why(docker: Stub, image: Image) -> None:
    docker('[ "$2" = version ] || { echo "#1 ERROR: x"; echo "ERROR: it rains"; exit 1; }')
    with pytest.raises(BuilderFailed, match=r"importing failed: it rains\n") as caught:
        BUILDER.import_image(image)
    assert caught.value.where == "builder mine (docker-container)"
    assert sorted(path.name for path in image.layout.parent.iterdir()) == ["layer.tar.zst", "layout"]


def test_the_builder_and_the_platform_are_passed_on(docker: Stub, image: Image) -> None:
    calls = docker('[ "$2" = version ]')
    with pytest.raises(BuilderFailed):
        BUILDER.import_image(replace(image, architecture="armhf"))
    assert "--platform=linux/arm/v7" in calls.read_text()
    assert "--builder mine " in calls.read_text()
    assert image_import.DOCKERFILE == "FROM base\n"
