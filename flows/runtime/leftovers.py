"""Remove what killed runs have left behind: it is found by lock, name or label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from flows.builders import buildx_build, image_import, lifecycle
from flows.builders.engine import LABEL, Engine, connect
from flows.builders.errors import BuildxMissing
from flows.builders.listing import known_builders
from flows.runtime.workdir import remove_dead_folders
from flows.smoke.run import remove_containers

NEVER = datetime.min.replace(tzinfo=UTC)  # of a builder that nobody has used
BUILDER = re.compile(rf"{lifecycle.PREFIX}(?P<run>[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})-\d+x")


def remove_leftovers(places: Iterable[Path], *run_ids: str) -> list[str]:
    """Remove work folders, builders, smoke tests' containers and unnamed images of these runs and of dead ones.

    A run is dead when nobody holds the lock of its work folder any more. Returns the ids of the runs.
    """
    swept = remove_dead_folders(places)
    if dead := {*swept, *run_ids}:
        lifecycle.remove_all(dead)
        with connect() as engine:
            for run_id in dead:
                remove_containers(engine, run_id)
                buildx_build.forget(engine, run_id)
                image_import.discard(engine, image_import.images_of_run(engine, run_id))
            image_import.discard(engine, chain.from_iterable(swept.values()))
    return sorted(dead)


def runs_with_leftovers(engine: Engine) -> dict[str, datetime]:
    """The runs, dead or not, that have a builder, container, image or volume, and when the newest was created."""
    newest: dict[str, datetime] = {}
    for run, since in (*_containers(engine), *_images(engine), *_volumes(engine), *_builders()):
        newest[run] = max(since, newest.get(run, since))
    return newest


def _containers(engine: Engine) -> Iterator[tuple[str, datetime]]:
    with engine.during("listing its containers"):
        for container in engine.client.api.containers(all=True):
            since = datetime.fromtimestamp(container["Created"], UTC)
            if label := (container.get("Labels") or {}).get(LABEL):
                yield label, since
            yield from ((run, since) for run in _runs_in(container["Names"]))


def _images(engine: Engine) -> Iterator[tuple[str, datetime]]:
    with engine.during("listing its images"):
        for image in engine.client.api.images(all=True, filters={"label": LABEL}):
            yield image["Labels"][LABEL], datetime.fromtimestamp(image["Created"], UTC)


def _volumes(engine: Engine) -> Iterator[tuple[str, datetime]]:
    with engine.during("listing its volumes"):
        for volume in engine.client.api.volumes()["Volumes"] or []:
            since = datetime.fromisoformat(volume["CreatedAt"])
            yield from ((run, since) for run in _runs_in([volume["Name"]]))


def _builders() -> Iterator[tuple[str, datetime]]:
    """The runs that have a builder, wherever it runs."""
    try:
        entries = known_builders()
    except BuildxMissing:
        return
    for builder in entries.values():
        since = datetime.fromisoformat(builder.last_activity) if builder.last_activity else NEVER
        yield from ((run, since) for run in _runs_in([builder.name]))


def _runs_in(names: Iterable[str]) -> Iterator[str]:
    return (found["run"] for name in names if (found := BUILDER.search(name)))
