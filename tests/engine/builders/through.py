"""Checks that every driver must pass."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.builders import image_import, lifecycle
from flows.builders.engine import Engine
from flows.builders.image_import import Builder, BuildxBuilder, EngineBuilder, import_image, remove_unused
from flows.image.oci import Image
from rootfs.errors import BuildError
from rootfs.process.run import Log
from rootfs.recipe.builder import BuilderPlan
from rootfs.recipe.sections import ImageSettings
from tests.support.samples import image_of, layered

SETTINGS = ImageSettings(
    cmd=("-c", "<&>"),
    entrypoint=("/bin/sh",),
    env={"B": "ü", "A": "1"},
    user="1000:1000",
    workdir="/srv",
    labels={"z": "<&>", "a": "b"},
    expose=("53/udp", "80"),
    volumes=("/data", "/cache"),
    stop_signal="SIGINT",
)

TAMPERING = ["FROM base\nLABEL added=1\n", "FROM base\nCOPY Dockerfile /\n", "FROM scratch\nCOPY Dockerfile /\n"]


@contextlib.contextmanager
def ephemeral(engine: Engine, run_id: str, log: Log, **plan: Any) -> Iterator[BuildxBuilder]:
    """A builder as this plan has it, up for the block, and gone afterwards: as a run has one."""
    planned = BuilderPlan.model_validate({"lifecycle": "ephemeral", **plan})
    up = False
    try:
        taken = lifecycle.acquire(planned, planned.driver, run_id, 1, log)
        lifecycle.start(taken, log)
        up = True
        yield BuildxBuilder(engine, taken.name, taken.driver, log)
    finally:
        lifecycle.remove(lifecycle.name_of(run_id, 1), planned.driver, late=not up)


def samples(folder: Path, hello: Path) -> list[Image]:
    """One small program with a command; some thousand files, with every setting there is; a layer on such an image."""
    tree = {f"usr/share/{number % 50}/{number}": b"%d\n" % number * (number % 97) * 40 for number in range(5000)}
    small = image_of({"hello": hello.read_bytes()}, folder / "hello", ImageSettings(cmd=("/hello",)), "hello")
    on_top = layered(dict(list(tree.items())[:50]), {"usr/.wh.share": b"", "new": b"new"}, folder / "top", SETTINGS)
    return [small, image_of(tree, folder / "tree", SETTINGS, "tree.slim-1"), on_top]


def holds_for_every_driver(
    builder: BuildxBuilder, folder: Path, example: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    """Images pass as they are and Docker's own example is built; each way of tampering is caught; the log says it."""
    images = samples(folder, example / "hello")
    passes_unchanged(builder, images)
    builds_the_example(builder.engine, builder.name, example)
    for dockerfile in TAMPERING:
        tampering_is_caught(builder, images[0], monkeypatch, dockerfile)
    assert any(f"exporting manifest {images[0].manifest_digest}" in line for line in log)


def passes_unchanged(builder: Builder, images: list[Image]) -> None:
    """Each image comes through with its digest, and is the one that the driver `docker` makes of the same layout."""
    for image in images:
        straight = import_image(image, EngineBuilder(builder.engine))
        assert remove_unused(builder.engine, straight)
        assert builder.engine.inspect(straight) is None
        through = import_image(image, builder)
        assert through == straight
        assert list(image.layout.parent.glob("through-*")) == []
        assert remove_unused(builder.engine, through)


def tampering_is_caught(builder: BuildxBuilder, image: Image, monkeypatch: pytest.MonkeyPatch, dockerfile: str) -> None:
    """What a builder adds is seen by the digest, and does not reach the engine."""
    monkeypatch.setattr(image_import, "DOCKERFILE", dockerfile)
    before = set(builder.engine.client.api.images(quiet=True, all=True))
    with pytest.raises(BuildError, match="changed the image:") as caught:
        import_image(image, builder)
    assert f"{image.manifest_digest} went in, sha256:" in caught.value.message
    assert caught.value.message.count("sha256:") == 2
    assert set(builder.engine.client.api.images(quiet=True, all=True)) == before
    assert list(image.layout.parent.glob("through-*")) == []


def builds_the_example(engine: Engine, builder: str, context: Path) -> None:
    """Docker's own example, built by its own command into the engine, where it runs."""
    name = f"example/{builder}:latest"
    build = ["docker", "buildx", "build", "--builder", builder, "--load", "--provenance=false", "--tag", name, context]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    said = subprocess.run(
        ["docker", "run", "--rm", "--network=none", name], check=True, capture_output=True, timeout=60
    )
    assert said.stdout.startswith(b"Hello from")
    engine.client.api.remove_image(name)
