"""Import images into the engine: the `docker` driver loads them, other builders are sent them and must give them back.

A builder is checked, not trusted: what comes back must have the digests that went in.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from docker.errors import APIError, ImageNotFound

from flows.builders.buildx_cli import buildx, plain
from flows.builders.engine import LABEL, Engine, unbroken
from flows.builders.errors import BuilderFailed, BuildxFailed, EngineRefused, engine_lost, image_changed
from flows.image.archives import docker_archive, docker_archive_of_layer, oci_archive
from flows.image.oci import Image, annotations_of, blob_path
from rootfs.errors import BaseforgeError
from rootfs.process.run import Log
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import platform_name

LOADED = re.compile(r"^Loaded image(?: ID)?: (\S+)$", re.MULTILINE)
DOCKERFILE = "FROM base\n"

THROUGH = 900.0  # seconds for an image to be sent and to come back


class Builder(Protocol):
    """A builder of buildx: its name in `docker buildx ls`, its driver, and the engine that gets the image."""

    @property
    def name(self) -> str:
        """The builder's name."""

    @property
    def driver(self) -> str:
        """The driver: `docker`, `docker-container`, `kubernetes` or `remote`."""

    @property
    def engine(self) -> Engine:
        """The engine that gets the image."""

    def import_image(self, image: Image) -> str:
        """Import the image into the engine, without a name, and return the id that the engine says."""


def import_image(image: Image, builder: Builder) -> str:
    """Import the image through the builder, check the result, and return its id in the engine.

    If this fails or is interrupted, the imported image is removed, unless it was there before. Raises BuildError
    and what the builder raises.
    """
    engine = builder.engine
    expected = engine.image_id(image)
    before = _images(engine)
    try:
        found = builder.import_image(image)
    except BaseException:
        discard(engine, {expected} - before)
        raise
    if found != expected:
        discard(engine, {found, expected} - before)
        raise image_changed(builder.name, expected, found)
    return expected


def tag(engine: Engine, image_id: str, name: str) -> None:
    """Give the image a name such as `baseforge/noble:latest`. The previous image of that name is removed if unused.

    Raises MachineError and EngineRefused.
    """
    previous = engine.inspect(name)
    with engine.during(f"naming {name}"):
        repository, _, version = name.rpartition(":")
        engine.client.api.tag(image_id, repository, version)
    if previous and previous["Id"] != image_id:
        remove_unused(engine, previous["Id"])


def remove_unused(engine: Engine, image_id: str) -> bool:
    """Remove an image without names and containers; returns whether it is gone. Raises MachineError."""
    details = engine.inspect(image_id)
    if details is None:
        return True
    if details.get("RepoTags") or details.get("RepoDigests"):
        return False
    with engine.during(f"removing {image_id}"):
        try:
            engine.client.api.remove_image(image_id)
        except ImageNotFound:
            return True
        except APIError as error:
            if error.status_code == 409:  # a container uses it
                return False
            raise
    return True


def _images(engine: Engine) -> set[str]:
    with engine.during("listing its images"):
        return set(engine.client.api.images(quiet=True, all=True))


def images_of_run(engine: Engine, run_id: str) -> list[str]:
    """The ids of the images with a run's label. Raises MachineError and EngineRefused."""
    with engine.during("listing its images"):
        return list(engine.client.api.images(quiet=True, all=True, filters={"label": f"{LABEL}={run_id}"}))


def discard(engine: Engine, image_ids: Iterable[str]) -> None:
    """Remove unused images during clean-up. Errors are ignored: the original error is the one to report."""
    for image_id in image_ids:
        try:
            remove_unused(engine, image_id)
        except BaseforgeError:
            return


@dataclass(frozen=True)
class EngineBuilder:
    """The engine's own builder (driver `docker`), named like its docker context."""

    engine: Engine
    name: str = "default"
    driver: str = "docker"

    def import_image(self, image: Image) -> str:
        """Load the image into the engine, without a name, unless the engine has it.

        Engines with containerd's store get the layout as it is. All others get uncompressed tars, as engines before
        version 23 cannot read zstd. Raises MachineError, EngineRefused and LayerDamaged.
        """
        if self.engine.inspect(expected := self.engine.image_id(image)):
            return expected
        with contextlib.suppress(EngineRefused):  # if so, it needs all layers in the archive
            if image.base_layers and not self.engine.containerd:  # it probably has the base image
                return self._sent(docker_archive_of_layer(image), image)
        return self._sent(oci_archive(image) if self.engine.containerd else docker_archive(image), image)

    def _sent(self, stream: Iterable[bytes], image: Image) -> str:
        loaded = unbroken(lambda given_up: self._load(_until(given_up, stream), f"loading {image.name}"))
        details = self.engine.inspect(loaded)
        return str(details["Id"]) if details else loaded

    def _load(self, stream: Iterable[bytes], doing: str) -> str:
        """Stream an archive to the engine and return the id or name of the loaded image.

        Progress messages are requested, so that silence means that the engine is stuck.
        """
        text = refused = ""
        with self.engine.during(doing):
            answer: Iterable[dict[str, Any]] = self.engine.client.api.load_image(stream, quiet=False)  # type: ignore[no-untyped-call]
            for line in answer:  # read to the end, so that the connection can be used again
                text += line.get("stream", "")
                refused = line.get("error", refused)
        if refused:
            raise EngineRefused(self.engine.endpoint, doing, refused)
        if not (match := LOADED.search(text)):
            raise engine_lost(self.engine.endpoint, doing, "it did not say what it loaded")
        return match[1]


def _until(given_up: threading.Event, stream: Iterable[bytes]) -> Iterator[bytes]:
    """The stream, ended by an error when the event is set."""
    for chunk in stream:
        if given_up.is_set():
            raise InterruptedError
        yield chunk


@dataclass(frozen=True)
class BuildxBuilder:
    """A builder in `docker buildx ls`. `engine` gets the image that comes back from it.

    `log` gets the output of buildx and the builder.
    """

    engine: Engine
    name: str
    driver: str
    log: Log

    def import_image(self, image: Image) -> str:
        """Build the Dockerfile `FROM base` with the layout as base, check the result, and load it.

        Raises BuilderFailed, BuildError, and what the driver `docker` raises.
        """
        with TemporaryDirectory(prefix="through-", dir=image.layout.parent) as folder:
            return EngineBuilder(self.engine).import_image(self._through(image, Path(folder)))

    def _through(self, image: Image, folder: Path) -> Image:
        """The image that came back. Names are relative to `folder`, as buildx splits options at commas and colons."""
        (folder / "layout").symlink_to(image.layout.resolve())
        (folder / "context").mkdir()
        (folder / "context/Dockerfile").write_text(DOCKERFILE)
        base = ["--build-context", f"base=oci-layout://layout:{image.name}"]
        output = ["--output", "type=oci,tar=false,dest=back"]
        try:
            usual = plain(platform_name(image.architecture))
            words = ["build", "--builder", self.name, *base, *usual, *_annotations(image), *output, "context"]
            buildx(*words, wait=THROUGH, cwd=folder, log=self.log)
        except BuildxFailed as error:
            raise BuilderFailed(self.name, self.driver, "importing", error.message) from error
        back = folder / "back"
        if (found := _digests(back)) != image.manifest_digest:
            raise image_changed(self.name, image.manifest_digest, found)
        lower = tuple(replace(layer, path=blob_path(back, layer.digest)) for layer in image.base_layers)
        own = replace(image.layer, path=blob_path(back, image.layer.digest))
        return replace(image, layout=back, layer=own, base_layers=lower)


def _annotations(image: Image) -> list[str]:
    """The options that give the manifest its annotations: a builder does not take them from the base image."""
    return [f"--annotation=manifest:{name}={value}" for name, value in annotations_of(image).items()]


def _digests(layout: Path) -> str:
    """The digests of a layout's manifests, of their real bytes. An unchanged layout has only ours."""
    listed = json.loads((layout / "index.json").read_bytes())["manifests"]
    return ", ".join(digest_of_bytes(blob_path(layout, each["digest"]).read_bytes()) for each in listed)
