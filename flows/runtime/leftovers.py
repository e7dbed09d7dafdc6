"""What runs have left behind that ended without cleaning up: found by the lock, the name or the label, and removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from flows.builders import buildx_build, engine, image_import, lifecycle
from flows.builders.engine import LABEL, Engine
from flows.builders.errors import BuildxMissing
from flows.builders.listing import known
from flows.runtime.workdir import remove_dead_folders
from flows.smoke.run import remove_containers

NEVER = datetime.min.replace(tzinfo=UTC)  # of a builder that nobody has used
BUILDER = re.compile(rf"{lifecycle.PREFIX}(?P<run>[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})-\d+x")


def remove_leftovers(places: Iterable[Path], *run_ids: str) -> list[str]:
    """Remove what these runs and dead ones have left: work folders, builders, smoke tests' containers, nameless images.

    A run is dead when nobody holds the lock of its work folder any more. Returns the ids of the runs.
    """
    swept = remove_dead_folders(places)
    if dead := {*swept, *run_ids}:
        lifecycle.remove_all(dead)
        with engine.connect() as reached:
            for run_id in dead:
                remove_containers(reached, run_id)
                buildx_build.forget(reached, run_id)
                image_import.discard(reached, image_import.of_run(reached, run_id))
            image_import.discard(reached, chain.from_iterable(swept.values()))
    return sorted(dead)


def runs_with_leftovers(reached: Engine) -> dict[str, datetime]:
    """The runs of which there is a builder, container or layer, dead or not, and when the newest of that came to be."""
    newest: dict[str, datetime] = {}
    for run, since in (*_containers(reached), *_layers(reached), *_volumes(reached), *_entries()):
        newest[run] = max(since, newest.get(run, since))
    return newest


def _containers(reached: Engine) -> Iterator[tuple[str, datetime]]:
    with reached.during("listing its containers"):
        for container in reached.client.api.containers(all=True):
            since = datetime.fromtimestamp(container["Created"], UTC)
            if label := (container.get("Labels") or {}).get(LABEL):
                yield label, since
            yield from ((run, since) for run in _runs_in(container["Names"]))


def _layers(reached: Engine) -> Iterator[tuple[str, datetime]]:
    with reached.during("listing its images"):
        for image in reached.client.api.images(all=True, filters={"label": LABEL}):
            yield image["Labels"][LABEL], datetime.fromtimestamp(image["Created"], UTC)


def _volumes(reached: Engine) -> Iterator[tuple[str, datetime]]:
    with reached.during("listing its volumes"):
        for volume in reached.client.api.volumes()["Volumes"] or []:
            since = datetime.fromisoformat(volume["CreatedAt"])
            yield from ((run, since) for run in _runs_in([volume["Name"]]))


def _entries() -> Iterator[tuple[str, datetime]]:
    """What buildx knows, wherever it runs."""
    try:
        entries = known()
    except BuildxMissing:
        return
    for builder in entries.values():
        since = datetime.fromisoformat(builder.last_activity) if builder.last_activity else NEVER
        yield from ((run, since) for run in _runs_in([builder.name]))


def _runs_in(names: Iterable[str]) -> Iterator[str]:
    return (found["run"] for name in names if (found := BUILDER.search(name)))
