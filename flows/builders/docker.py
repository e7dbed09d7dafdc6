"""The `docker` driver: straight into the engine, over its API."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from flows.builders import engine as engines
from flows.builders.engine import LABEL, Engine, unbroken
from flows.builders.errors import EngineLost, EngineRefused
from flows.builders.image_import import discard
from flows.image.archives import docker_archive, docker_archive_of_layer, docker_archive_without_layer, oci_archive
from flows.image.oci import Image

LOADED = re.compile(r"^Loaded image(?: ID)?: (\S+)$", re.MULTILINE)

WAITING = 2  # pieces of a tar that an engine has not asked for yet; each is some MB
PIECE = 1 << 20  # bytes sent at once


class Ahead:
    """Sends a layer's tar into the engine while it is made; what `pack` calls a tee.

    It becomes a nameless image with the run's label, of which the layer alone is wanted: an image imported while the
    block is open shares it. When the block ends the nameless image goes. What fails here is no error: `layer` is then
    empty, and the image's import sends all of it.
    """

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine, self._run_id = engine, run_id
        self._pieces: queue.Queue[bytearray | None] = queue.Queue(WAITING)
        self._written = self._taken()
        self._began = self._idle = 0.0
        self._ended, self._given_up = False, threading.Event()
        self._answer: Future[str] = Future()
        self._sender = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The engine is waited for whatever has happened: it would go on alone, and nobody would clean up after it."""
        if image_id := self._image_id():
            discard(self._engine, [image_id])

    def write(self, data: bytearray) -> None:
        """Queue a piece of the tar, when there is room. Raises EngineLost when there is none for too long.

        The engine is asked when the first comes, be it empty: it would wait for a tree that is still being made.
        """
        if not self._sender.ident:
            self._began = time.monotonic()
            self._sender.start()
        try:
            self._pieces.put(data, timeout=engines.SILENCE)
        except queue.Full:
            self._given_up.set()
            raise EngineLost(self._engine.endpoint, "sending a layer", "it takes no more") from None

    @property
    def busy(self) -> float:
        """Seconds in which the engine has had something to take in so far."""
        return time.monotonic() - self._began - self._idle if self._began else 0.0

    def layer(self) -> str:
        """The diff id of the layer that the engine has, once all of the tar is written; empty where it has none."""
        image_id, details = self._image_id(), None
        with contextlib.suppress(EngineLost, EngineRefused):
            details = self._engine.inspect(image_id) if image_id else None
        return "".join(details["RootFS"]["Layers"]) if details else ""

    def _image_id(self) -> str:
        """What the engine made of the tar, which ends here; empty where it made nothing of it."""
        if self._given_up.is_set() or not self._sender.ident:
            return ""
        try:
            if not self._ended:
                self._pieces.put(None, timeout=engines.SILENCE)
                self._ended = True
            return self._answer.result(engines.SILENCE)
        except Exception:  # of the engine, its libraries or our patience: it has no layer
            self._given_up.set()
            return ""

    def _send(self) -> None:
        """In a thread of its own: hand the engine all that is written, and when it takes no more, the void."""
        changes = [f"LABEL {LABEL}={self._run_id}"]
        try:
            said: str = self._engine.client.api.import_image_from_data(self._body(), changes=changes)
            self._answer.set_result(json.loads(said.splitlines()[-1]).get("status", ""))
        except BaseException as error:  # raised again where the answer is waited for
            self._answer.set_exception(error)
            while not self._given_up.is_set() and next(self._written, None):
                pass

    def _taken(self) -> Iterator[bytearray]:
        """All that is written, to its end; waiting for it is counted."""
        while True:
            began = time.monotonic()
            piece = self._pieces.get()
            self._idle += time.monotonic() - began
            if piece is None:
                return
            yield piece

    def _body(self) -> Iterator[bytes]:
        for data in self._written:
            if self._given_up.is_set():
                raise InterruptedError
            with memoryview(data) as view:
                yield from (bytes(view[start : start + PIECE]) for start in range(0, len(view), PIECE))


def ahead(engine: Engine, run_id: str) -> AbstractContextManager[Ahead | None]:
    """An Ahead for engines that take plain layers; those with containerd's store take them as they are, at the end."""
    return contextlib.nullcontext() if engine.containerd else Ahead(engine, run_id)


@dataclass(frozen=True)
class Docker:
    """The builder that every engine brings along, named as its docker context."""

    engine: Engine
    name: str = "default"
    driver: str = "docker"
    ahead: Ahead | None = None

    def import_image(self, image: Image) -> str:
        """Load the image into the engine, without a name; the engine's content addresses make a second time free.

        Engines with containerd's store get the layout as it is, all others the plain tar, as before version 23 they
        cannot read zstd; the layer stays away where it was sent ahead. Raises EngineLost, EngineRefused and
        LayerDamaged.
        """
        if self.engine.inspect(expected := self.engine.image_id(image)):
            return expected
        with contextlib.suppress(EngineRefused):  # in which case it wants to see all layers in the archive
            if self.ahead and self.ahead.layer() == image.layer.diff_id:
                return self._sent(docker_archive_without_layer(image), image)
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
