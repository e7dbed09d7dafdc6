"""A builder with several nodes: an image goes to the node for its architecture."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.builders import lifecycle
from flows.builders.image_import import BuildxBuilder, import_image, remove_unused
from flows.builders.lifecycle import AcquiredBuilder
from flows.image.oci import Image
from rootfs.recipe.builder import existing_builder
from tests.support.samples import image_of
from tests.support.services.buildkit import IMAGE
from tests.support.services.workshop import Workshop

NODES = {"east": "amd64", "west": "arm64"}


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def builder(workshop: Workshop) -> Iterator[BuildxBuilder]:
    """Two nodes on one engine: buildx wants a context for each."""
    options = ["--driver=docker-container", f"--driver-opt=image={IMAGE},network=none"]
    for node, architecture in NODES.items():
        docker("context", "create", node, f"--docker=host={workshop.engine.endpoint}")
        append = ["--append"] if node != "east" else []
        where = ["--name=two", f"--node={node}", f"--platform=linux/{architecture}", node]
        docker("buildx", "create", *append, *options, *where)
    yield BuildxBuilder(workshop.engine, "two", "docker-container", print)
    docker("buildx", "rm", "--force", "two")
    assert workshop.leftovers() == []


def sees(node: str, image: Image) -> bool:
    """Whether this node has built from the image, as its history of builds says."""
    history = docker("exec", f"buildx_buildkit_{node}", "buildctl", "du", "--verbose")
    return image.manifest_digest in history


def test_each_architecture_goes_to_its_own_node(builder: BuildxBuilder, tmp_path: Path) -> None:
    assert lifecycle.start(AcquiredBuilder("two", builder.driver, existing_builder("two")), print).startswith("v0.")
    images = {
        node: image_of({"file": uuid.uuid4().bytes}, tmp_path / node, name=node, architecture=architecture)
        for node, architecture in NODES.items()
    }
    for image in images.values():
        imported = import_image(image, builder)  # which sees that it is the one that was sent
        assert imported == builder.engine.image_id(image)
        details = builder.engine.inspect(imported)
        assert details
        assert details["Architecture"] == image.architecture
        assert remove_unused(builder.engine, imported)
    seen = {(node, name) for node in NODES for name, image in images.items() if sees(node, image)}
    assert seen == {("east", "east"), ("west", "west")}
