"""The `docker` driver: straight into the engine, over its API."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flows.builders.engine import Engine, unbroken
from flows.builders.errors import EngineLost, EngineRefused
from flows.image.archives import docker_archive, docker_archive_of_layer, oci_archive
from flows.image.oci import Image

LOADED = re.compile(r"^Loaded image(?: ID)?: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Docker:
    """The builder that every engine brings along, named as its docker context."""

    engine: Engine
    name: str = "default"
    driver: str = "docker"

    def import_image(self, image: Image) -> str:
        """Load the image into the engine, without a name; the engine's content addresses make a second time free.

        Engines with containerd's store get the layout as it is, all others the plain tar, as before version 23 they
        cannot read zstd. Raises EngineLost, EngineRefused and LayerDamaged.
        """
        if self.engine.inspect(expected := self.engine.image_id(image)):
            return expected
        with contextlib.suppress(EngineRefused):  # in which case it wants to see all layers in the archive
            if image.below and not self.engine.containerd:  # it is likely to have the parent's image
                return self._sent(docker_archive_of_layer(image), image)
        return self._sent(oci_archive(image) if self.engine.containerd else docker_archive(image), image)

    def _sent(self, stream: Iterable[bytes], image: Image) -> str:
        loaded = unbroken(lambda given_up: self._load(_until(given_up, stream), f"loading {image.name}"))
        details = self.engine.inspect(loaded)
        return str(details["Id"]) if details else loaded

    def _load(self, stream: Iterable[bytes], doing: str) -> str:
        """Stream an archive in and return the id or name that the engine gave it.

        Progress is asked for, though nobody reads it: silence then means that the engine is stuck.
        """
        said = refusal = ""
        with self.engine.during(doing):
            answer: Iterable[dict[str, Any]] = self.engine.client.api.load_image(stream, quiet=False)  # type: ignore[no-untyped-call]
            for line in answer:  # to its end, so that the connection can be used again
                said += line.get("stream", "")
                refusal = line.get("error", refusal)
        if refusal:
            raise EngineRefused(self.engine.endpoint, doing, refusal)
        if not (match := LOADED.search(said)):
            raise EngineLost(self.engine.endpoint, doing, "it did not say what it loaded")
        return match[1]


def _until(given_up: threading.Event, stream: Iterable[bytes]) -> Iterator[bytes]:
    """The stream, broken off when nobody wants the answer any more."""
    for piece in stream:
        if given_up.is_set():
            raise InterruptedError
        yield piece
