"""An image into an engine, through a builder that is checked, not trusted; its name there, and its way out again."""

from __future__ import annotations

from collections.abc import Iterable

from docker.errors import APIError, ImageNotFound

from flows.builders.base import Builder
from flows.builders.engine import LABEL, Engine
from flows.builders.errors import image_changed
from flows.image.oci import Image
from rootfs.errors import BaseforgeError


def import_image(image: Image, builder: Builder) -> str:
    """Send the image through the builder and compare what came back; returns its id in the engine.

    What came in is removed again when this fails or is interrupted, unless it was there before. Raises BuildError
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
    """Give the image a name such as `baseforge/noble:latest`; the image that had it goes if nothing else uses it.

    Raises EngineLost and EngineRefused.
    """
    previous = engine.inspect(name)
    with engine.during(f"naming {name}"):
        repository, _, version = name.rpartition(":")
        engine.client.api.tag(image_id, repository, version)
    if previous and previous["Id"] != image_id:
        drop(engine, previous["Id"])


def drop(engine: Engine, image_id: str) -> bool:
    """Remove an image that has no name and no container; returns whether it is gone. Raises EngineLost."""
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


def of_run(engine: Engine, run_id: str) -> list[str]:
    """The ids of the images that a run's label is on. Raises EngineLost and EngineRefused."""
    with engine.during("listing its images"):
        return list(engine.client.api.images(quiet=True, all=True, filters={"label": f"{LABEL}={run_id}"}))


def discard(engine: Engine, image_ids: Iterable[str]) -> None:
    """Drop images on the way out: an error that is already under way stays the one to report."""
    for image_id in image_ids:
        try:
            drop(engine, image_id)
        except BaseforgeError:
            return
