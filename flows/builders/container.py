"""The `docker-container` driver: BuildKit in a container of the engine, made for one run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from flows.builders.buildx import Buildx, created, driver_options, name_of
from flows.builders.engine import FAULTS, Engine
from rootfs.run import Log

DRIVER = "docker-container"
LATE = 2.0  # seconds in which an engine may still finish a container that nobody waits for any more


@contextlib.contextmanager
def container(engine: Engine, run_id: str, *, options: Mapping[str, str], log: Log) -> Iterator[Buildx]:
    """A builder of the engine behind the current docker context, gone with its cache when the block ends.

    `options` are those of the driver, such as image, network and memory; without an image buildx has its own default.
    Raises BuildxMissing and BuilderFailed.
    """
    builder = Buildx(engine, name_of(run_id), DRIVER, log)
    ready = False
    try:
        with created(builder, *driver_options(options)):
            ready = True
            yield builder
    finally:
        remove_leftovers(engine, run_id, wait=0 if ready else LATE)


def remove_leftovers(engine: Engine, run_id: str, *, wait: float = 0) -> None:
    """Remove the container and the volume of a run's builder where buildx could not, as when it was killed.

    An engine goes on making a container that it was asked for: with `wait`, look again for so many seconds.
    """
    node = f"buildx_buildkit_{name_of(run_id)}0"  # as buildx calls a builder's first
    until = time.monotonic() + wait
    while not _removed(engine, node) and time.monotonic() < until:
        time.sleep(0.2)
    with contextlib.suppress(*FAULTS):
        engine.client.api.remove_volume(f"{node}_state", force=True)


def _removed(engine: Engine, name: str) -> bool:
    try:
        engine.client.api.remove_container(name, force=True, v=True)
    except FAULTS:
        return False
    return True
