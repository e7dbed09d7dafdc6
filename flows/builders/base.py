"""Builders: what an image is imported through. One file a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flows.builders.engine import Engine
    from flows.image.oci import Image


class Builder(Protocol):
    """A buildx builder: `name` as `docker buildx ls` shows it, and one of buildx's drivers.

    `engine` is where an image ends up when it came through the builder, and where it is run.
    """

    @property
    def name(self) -> str:
        """The builder's name."""

    @property
    def driver(self) -> str:
        """The driver: `docker`, `docker-container`, `kubernetes` or `remote`."""

    @property
    def engine(self) -> Engine:
        """The engine that has the image afterwards."""

    def import_image(self, image: Image) -> str:
        """Send the image through into the engine, without a name, and return its id as the engine says it."""
