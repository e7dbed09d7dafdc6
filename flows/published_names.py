"""The names of a build: which build `latest` means in the store, the registry and the engine, and how that changes.

The store decides, and the others follow: see `flows.publish.newest`. Whatever was interrupted on the way is finished by
the next run of the image, or by housekeeping.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flows.builders import image_import
from flows.builders.engine import context_name
from flows.builders.image_import import EngineBuilder
from flows.config.options import Choice
from flows.image.index import Index
from flows.image.oci import Image
from flows.inputs import resolve
from flows.inputs.resolve import Meant
from flows.orchestration.step import step
from flows.publish import integrity, newest, records, registry, stored_image
from flows.publish.record import Record
from flows.publish.registry import Registry
from flows.runtime.context import Session, current, current_run, logger
from flows.runtime.workdir import note_image, work_folder
from rootfs.errors import BaseforgeError, error_from
from rootfs.system.platforms import architecture_of

LATEST = "latest"
TURNS = 5  # others may move `latest` while we do


@dataclass(frozen=True)
class Existing:
    """A build that has the wanted inputs, and why its names have to be moved; no reason where all point to it."""

    record: Record
    reasons: tuple[str, ...] = ()


def registry_of(here: Session) -> Registry | None:
    """The registry of the settings, if there is one."""
    address = here.settings.registry
    return Registry(address, here.settings.registry_insecure) if address else None


def look(here: Session, record: Record) -> Existing:
    """See whether all names point to this build. Raises what the registry and the engine raise."""
    reasons = (*_in_store(here, record), *_in_registry(here, record), *_in_engine(here, record))
    return Existing(record.model_copy(update={"registry": _pushed(here, record)}), reasons)


def _pushed(here: Session, record: Record) -> str:
    where = registry_of(here)
    return f"{where.repository(record.image)}@{record.manifest_digest}" if where else record.registry


def _in_store(here: Session, record: Record) -> Iterator[str]:
    pointed = newest.readable(here.store, record.image)
    if pointed is None and (last := records.latest(here.store, record.image)):
        if last.build == record.build and last.number <= newest.FIRST:  # as an earlier version left it
            newest.move(here.store, record.image, record.build, "the newest record", least=last.number)
            newest.mark_named(here.store, record.image, record.build)
        else:
            yield f"the store had lost which build is the newest; the newest record was {last.build}"
    elif pointed and pointed.build != record.build:
        yield f"the newest was build {pointed.build}"
    elif pointed and not pointed.named:
        yield "an earlier run had not moved all names"


def _in_registry(here: Session, record: Record) -> Iterator[str]:
    if where := registry_of(here):
        name = f"{where.repository(record.image)}:{LATEST}"
        found = registry.digest_at(name, where)
        if found is None:
            yield f"the registry did not have {name}"
        elif found != record.manifest_digest:
            yield f"{name} was another image"


def _in_engine(here: Session, record: Record) -> Iterator[str]:
    for part in record.parts or (record,):
        name = here.settings.local_reference(record.image, part.platforms[0])
        found = here.engine().inspect(name)
        if found is None:
            yield f"the engine did not have {name}"
        elif found["Id"] != here.engine().image_id(part):
            yield f"{name} was another image in the engine"


@step("look-up {wanted.recipe.name}", network=True)
def already_built(wanted: Meant, choice: Choice) -> Existing | None:
    """The build with the same inputs, if the store has all of it, and whether all names point to it.

    A build that is not to be published moves no names, so it does not ask either.
    """
    here, seconds = current(), current_run().timeline.seconds
    known = resolve.built(wanted)
    if known is None or not integrity.is_whole(here.store, known):
        return None
    known = known.model_copy(update={"status": "unchanged", "seconds": dict(seconds)})
    return look(here, known) if choice.publish else Existing(known)


@step("name {record.image}", network=True)
def point(record: Record) -> None:
    """Let the tags in the registry, and then the names in the engine, mean the build that the store says is newest."""
    _name(current(), record, [record.build, LATEST])


@step("name {existing.record.image}", network=True)
def move(existing: Existing) -> Record:
    """Let all names mean a build that is in the store already; what the registry or the engine lacks comes from there.

    Nothing moves before all that is lacking is where it has to be. Raises BlobMissing, BlobDamaged and LayerDamaged,
    and what the store, the registry and the engine raise.
    """
    here, record, why = current(), existing.record, "; ".join(existing.reasons)
    bring(here, record)
    least = records.next_number(here.store, record.image)
    newest.move(here.store, record.image, record.build, f"it has the wanted inputs: {why}", least=least)
    follow(here, record)
    here.progress.note(f"build {record.build}")
    return record.model_copy(update={"status": "moved", "reason": why})


@step("finish {image}", network=True)
def finish(image: str) -> str:
    """Finish what an interrupted run has left: let the names follow the store. Returns the build that they mean now.

    Where the store has no longer the record of that build nothing is done: the next run of the image decides.
    """
    here = current()
    record, pointed = records.latest(here.store, image), newest.readable(here.store, image)
    if record is None or pointed is None or pointed.build != record.build:
        return ""
    bring(here, record)
    follow(here, record)
    return record.build


def unfinished(here: Session) -> list[str]:
    """The images whose names in the registry or the engine have not followed the store."""
    found = ((image, newest.readable(here.store, image)) for image in records.images(here.store))
    return [image for image, pointed in found if pointed and not pointed.named]


@contextmanager
def told(record: Record, but: tuple[type[BaseforgeError], ...] = ()) -> Iterator[None]:
    """Add to what goes wrong in the block what is in the store all the same. Raises it, or one of `but`."""
    try:
        yield
    except but:
        raise
    except BaseforgeError as problem:
        behind = f"build {record.build} is in the store, but not all names of {record.image} point to it"
        hint = f"{problem.hint} The next build of {record.image} goes on from there, and so does `baseforge gc`."
        data = {**problem.as_dict(), "message": f"{problem.message} ({behind})", "hint": hint.lstrip()}
        raise error_from(data) from problem


def follow(here: Session, record: Record) -> None:
    """Move the tags that do not mean this build yet, and the names in the engine."""
    tags = [record.build, LATEST]
    if where := registry_of(here):
        repository = where.repository(record.image)
        tags = [each for each in tags if registry.digest_at(f"{repository}:{each}", where) != record.manifest_digest]
    _name(here, record, tags)


def _name(here: Session, record: Record, tags: list[str]) -> None:
    """Move the tags and the names in the engine, and note in the store that this is done."""
    where = registry_of(here)
    if where and tags:
        registry.tag(_pushed(here, record), where, tags, log=logger())
    pointed = newest.readable(here.store, record.image)
    if pointed and pointed.build == record.build:
        _name_in_engine(here, record)
    if not newest.mark_named(here.store, record.image, record.build):
        _give_way(here, record.image)


def _name_in_engine(here: Session, record: Record) -> None:
    engine = here.engine()
    for part in record.parts or (record,):
        image_import.tag(engine, engine.image_id(part), here.settings.local_reference(record.image, part.platforms[0]))


def _give_way(here: Session, image: str) -> None:
    """Another run has moved `latest` meanwhile, and its names may have come before ours: let them mean its build again.

    What it has not pushed or loaded yet it will name itself.
    """
    where, engine = registry_of(here), here.engine()
    for _ in range(TURNS):
        record = records.latest(here.store, image)
        if record is None or not look(here, record).reasons:
            return
        if all(engine.inspect(engine.image_id(part)) for part in record.parts or (record,)):
            _name_in_engine(here, record)
        if where and registry.digest_at(reference := _pushed(here, record), where):
            registry.tag(reference, where, [LATEST], log=logger())


def bring(here: Session, record: Record) -> None:
    """Push and load what the registry and the engine do not have of a build, out of the store."""
    with work_folder(here.settings.work, str(uuid.uuid4())) as folder:
        layouts = _Layouts(here, record, folder)
        where, engine = registry_of(here), here.engine()
        if where and registry.digest_at(_pushed(here, record), where) is None:
            registry.push(layouts.whole, where, log=logger())
        for number, part in enumerate(record.parts or (record,)):
            if engine.inspect(engine.image_id(part)) is None:
                note_image(folder, engine.image_id(part))
                image_import.import_image(layouts.images[number], EngineBuilder(engine, context_name()))


@dataclass(frozen=True)
class _Layouts:
    """A build's images as OCI layouts in a work folder, once something needs them."""

    here: Session
    record: Record
    folder: Path

    @cached_property
    def images(self) -> list[Image]:
        return [
            stored_image.lay_out(
                self.here.store,
                self.record.image,
                part.manifest_digest,
                architecture_of(part.platforms[0]),
                self.folder / str(number),
            )
            for number, part in enumerate(self.record.parts or (self.record,))
        ]

    @cached_property
    def whole(self) -> Image | Index:
        if not self.record.index:
            return self.images[0]
        return stored_image.lay_out_index(self.here.store, self.record.index, self.images, self.folder / "index")
