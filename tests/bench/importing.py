"""Time the import of trixie through a warm docker-container builder, as a ratio to `docker load` of the same image.

Both end with the image in the same engine, from which it was removed before; the file that `docker load` reads is in
the page cache. Prints the medians of several rounds, taken in turns, and fails when the ratio is above the limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flows.builders import lifecycle
from flows.builders.engine import Engine, connect
from flows.builders.image_import import BuildxBuilder, remove_unused
from flows.image.oci import Image, make_image
from rootfs.layer.pack import Layer
from rootfs.recipe.builder import BuilderPlan
from rootfs.recipe.recipe import read_recipe
from tests.support.factory import SHELF, Factory
from tests.support.services.buildkit import IMAGE, build_image
from tests.support.services.dockerd import dockerd
from tests.support.services.tools import tool

ROUNDS = 5
LIMIT = 2.0


def trixie(folder: Path) -> Image:
    """The image as the factory makes it."""
    factory = Factory(folder)
    factory.shelf("trixie")
    built = factory.run("build", "trixie", "--json")
    assert built.status == 0, built.stderr
    layer = folder / "rootfs.tar.zst"
    assert factory.run("export", "trixie", str(layer)).status == 0
    [record] = built.json
    packed = Layer(layer, record["layer_digest"], record["diff_id"], layer.stat().st_size, record["unpacked"])
    settings, epoch = read_recipe(SHELF / "trixie.yaml").image, record["lock"]["releases"]
    made = make_image(
        packed,
        settings,
        name="trixie",
        architecture="amd64",
        epoch=max(release["date"] for release in epoch),
        folder=folder / "layout",
    )
    assert made.manifest_digest == record["manifest_digest"]
    return made


def seconds(work: Callable[[], object], engine: Engine, image: Image) -> float:
    """Of the work alone; the image is gone again afterwards."""
    began = time.monotonic()
    work()
    took = time.monotonic() - began
    assert engine.inspect(engine.image_id(image)), "it did not arrive"
    for name in (engine.inspect(engine.image_id(image)) or {})["RepoTags"]:
        engine.client.api.remove_image(name)
    assert remove_unused(engine, engine.image_id(image))
    return took


def measure(engine: Engine, image: Image, folder: Path) -> tuple[float, float]:
    """Medians of `docker load` and of the import, in seconds."""
    plan = BuilderPlan(lifecycle="ephemeral", options={"image": IMAGE, "network": "none"})
    taken = lifecycle.acquire(plan, plan.driver, "bench", 1, lambda _: None)
    try:
        lifecycle.start(taken, lambda _: None)
        builder = BuildxBuilder(engine, taken.name, taken.driver, lambda _: None)
        archive = folder / "trixie.tar"
        builder.import_image(image)
        engine.client.api.tag(engine.image_id(image), "bench/trixie", "latest")
        subprocess.run(["docker", "save", "--output", archive, "bench/trixie:latest"], check=True)
        seconds(lambda: None, engine, image)
        load = ["docker", "load", "--quiet", "--input", archive]
        loads, imports = [], []
        for _ in range(ROUNDS):
            loads.append(seconds(lambda: subprocess.run(load, check=True, capture_output=True), engine, image))
            imports.append(seconds(lambda: builder.import_image(image), engine, image))
    finally:
        lifecycle.remove(taken.name, taken.driver)
    return statistics.median(loads), statistics.median(imports)


def main() -> int:
    """Print the ratio; 1 when it is above the limit."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place, dockerd() as daemon:
        folder = Path(place)
        for each in ("docker/cli-plugins", "buildkit", "site"):
            (folder / each).mkdir(parents=True)
        (folder / "docker/cli-plugins/docker-buildx").symlink_to(tool("buildx"))
        os.environ.update({"DOCKER_HOST": daemon.address, "DOCKER_CONFIG": str(folder / "docker")})
        build_image(folder / "buildkit", daemon.address)
        with connect() as engine:
            load, through = measure(engine, trixie(folder / "site"), folder)
    table = f"trixie, medians of {ROUNDS}: docker load {load:.2f} s, warm docker-container builder {through:.2f} s"
    sys.stdout.write(f"{table}, ratio {through / load:.2f} (at most {LIMIT:g})\n")
    return int(through / load > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
