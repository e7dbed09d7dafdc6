"""The names of a published build: `latest` and the build id in the store, the registry and the engine.

The store decides which build `latest` is, and the others follow: see `flows.publish.newest`. The next run of the image,
or housekeeping, finishes what was interrupted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flows.builders import image_import
from flows.builders.engine import context_name
from flows.builders.image_import import EngineBuilder
from flows.image.archives import read_blob
from flows.image.index import Index, combine_images
from flows.image.oci import Image
from flows.inputs.resolve import ImageInputs
from flows.orchestration.step import step
from flows.publish import integrity, newest, registry, stored_builds, stored_image
from flows.publish.record import Record
from flows.publish.registry import Registry
from flows.runtime.context import BuildContext, Context
from flows.runtime.workdir import note_image, work_folder
from rootfs.errors import BaseforgeError, error_from
from rootfs.lock.lock import are_newer
from rootfs.system.platforms import architecture_of

LATEST = "latest"
TURNS = 5  # tries: other runs may move `latest` at the same time


@dataclass(frozen=True)
class Existing:
    """A build that has the same inputs, and why its names have to be moved; no reason where all point to it."""

    record: Record
    reasons: tuple[str, ...] = ()


def registry_of(ctx: Context) -> Registry | None:
    """The registry of the settings, if there is one."""
    address = ctx.settings.registry
    return Registry(address, ctx.settings.registry_insecure, ctx.settings.authorities) if address else None


def check_names(ctx: Context, record: Record) -> Existing:
    """Check whether all names point to this build. Raises what the registry and the engine raise."""
    reasons = (*_in_store(ctx, record), *_in_registry(ctx, record), *_in_engine(ctx, record))
    return Existing(record.model_copy(update={"registry": _pushed(ctx, record)}), reasons)


def _pushed(ctx: Context, record: Record) -> str:
    where = registry_of(ctx)
    return f"{where.repository(record.image)}@{record.manifest_digest}" if where else record.registry


def _in_store(ctx: Context, record: Record) -> Iterator[str]:
    pointed = newest.read_if_valid(ctx.store, record.image)
    if pointed is None and (last := stored_builds.latest_readable(ctx.store, record.image)):
        if last.build == record.build and last.number <= newest.FIRST:  # as an earlier version left it
            newest.move_latest(ctx.store, record.image, record.build, "the newest record", least=last.number)
            newest.mark_named(ctx.store, record.image, record.build)
        else:
            yield f"the store had lost which build is the newest; the newest record was {last.build}"
    elif pointed and pointed.build != record.build:
        yield f"the newest was build {pointed.build}"
    elif pointed and not pointed.named:
        yield "an earlier run had not moved all names"


def _in_registry(ctx: Context, record: Record) -> Iterator[str]:
    if where := registry_of(ctx):
        name = f"{where.repository(record.image)}:{LATEST}"
        found = registry.digest_at(name, where)
        if found is None:
            yield f"the registry did not have {name}"
        elif found != record.manifest_digest:
            yield f"{name} was another image"


def _in_engine(ctx: Context, record: Record) -> Iterator[str]:
    if ctx.settings.work_pool:  # one machine of many: an image is in the engine of the one that built it
        return
    for part in record.parts or (record,):
        name = ctx.settings.local_reference(record.image, part.platforms[0])
        found = ctx.engine().inspect(name)
        if found is None:
            yield f"the engine did not have {name}"
        elif found["Id"] != ctx.engine().image_id(part):
            yield f"{name} was another image in the engine"


@step("look-up {ctx.image}", network=True)
def find_existing(ctx: BuildContext, inputs: ImageInputs) -> Existing | None:
    """Find the build with the same inputs, if the store has all of it, and whether all names point to it.

    A build that is not to be published moves no names, so it does not ask either.
    """
    record = stored_builds.find_by_inputs(ctx.store, inputs.digest) or _made_with_newer_tools(ctx, inputs)
    if record is None or record.image != inputs.recipe.name or not integrity.is_complete(ctx.store, record):
        return None
    record = record.model_copy(update={"status": "unchanged", "seconds": dict(ctx.timeline.seconds)})
    return check_names(ctx, record) if ctx.options.publishes(ctx.image) else Existing(record)


def _made_with_newer_tools(ctx: BuildContext, inputs: ImageInputs) -> Record | None:
    """The newest build, if its inputs differ from these only by newer versions of tools.

    Machines of several releases share a store: if an older tool counted as a change, they would build every image in
    turn, night after night.
    """
    record = stored_builds.latest_readable(ctx.store, inputs.recipe.name)
    if record is None:
        return None
    platforms = []
    for each in inputs.platforms:
        if (part := record.of(each.platform)) is None or not are_newer(part.tools, each.tools):
            return None
        platforms.append(replace(each, tools=part.tools))
    found = ImageInputs(tuple(platforms)).digest
    if found != record.input_digest or found == inputs.digest:  # with the same tools the look-up has decided
        return None
    ctx.note(f"build {record.build} was made with newer tools than this machine has")
    return record


@step("name {record.image}", network=True)
def name_build(ctx: Context, record: Record) -> None:
    """Point the tags in the registry, and then the names in the engine, to the build that the store says is newest."""
    _name(ctx, record, [record.build, LATEST])


@step("name {existing.record.image}", network=True)
def move_names(ctx: BuildContext, existing: Existing) -> Record:
    """Point all names to a build in the store. What the registry or the engine lacks of it comes from the store.

    Names move only when everything that was missing is there. Raises BlobMissing, BlobDamaged and LayerDamaged,
    and what the store, the registry and the engine raise.
    """
    record, why = existing.record, "; ".join(existing.reasons)
    load_missing(ctx, record)
    least = stored_builds.next_number(ctx.store, record.image)
    newest.move_latest(ctx.store, record.image, record.build, f"it has the current inputs: {why}", least=least)
    _follow(ctx, record)
    ctx.note(f"build {record.build}")
    return record.model_copy(update={"status": "moved", "reason": why})


@step("finish {image}", network=True)
def finish_names(ctx: Context, image: str) -> str:
    """Finish what an interrupted run has left: move the names to what the store says. Returns the build they mean now.

    If the store no longer has the record of that build, nothing is done: the next run of the image decides.
    """
    record, pointed = stored_builds.latest_readable(ctx.store, image), newest.read_if_valid(ctx.store, image)
    if record is None or pointed is None or pointed.build != record.build:
        return ""
    load_missing(ctx, record)
    _follow(ctx, record)
    return record.build


def images_to_finish(ctx: Context) -> list[str]:
    """The images whose names in the registry or the engine are not yet those of the store."""
    found = ((image, newest.read_if_valid(ctx.store, image)) for image in stored_builds.images(ctx.store))
    return [image for image, pointed in found if pointed and not pointed.named]


@contextmanager
def naming(record: Record, but: tuple[type[BaseforgeError], ...] = ()) -> Iterator[None]:
    """Add to an error of the block that the build is in the store nevertheless; errors in `but` are not changed."""
    try:
        yield
    except but:
        raise
    except BaseforgeError as problem:
        behind = f"build {record.build} is in the store, but not all names of {record.image} point to it"
        hint = f"{problem.hint} The next build of {record.image} goes on from there, and so does `baseforge gc`."
        data = {**problem.as_dict(), "message": f"{problem.message} ({behind})", "hint": hint.lstrip()}
        raise error_from(data) from problem


def _follow(ctx: Context, record: Record) -> None:
    """Move the tags that do not point to this build yet, and the names in the engine."""
    tags = [record.build, LATEST]
    if where := registry_of(ctx):
        repository = where.repository(record.image)
        tags = [each for each in tags if registry.digest_at(f"{repository}:{each}", where) != record.manifest_digest]
    _name(ctx, record, tags)


def _name(ctx: Context, record: Record, tags: list[str]) -> None:
    """Move the tags and the names in the engine, and note in the store that this is done."""
    where = registry_of(ctx)
    if where and tags:
        registry.tag(_pushed(ctx, record), where, tags, log=ctx.log)
    pointed = newest.read_if_valid(ctx.store, record.image)
    if pointed and pointed.build == record.build:
        _name_in_engine(ctx, record)
    if not newest.mark_named(ctx.store, record.image, record.build):
        _give_way(ctx, record.image)


def _name_in_engine(ctx: Context, record: Record) -> None:
    engine = ctx.engine()
    for part in record.parts or (record,):
        if not ctx.settings.work_pool or engine.inspect(engine.image_id(part)):
            name = ctx.settings.local_reference(record.image, part.platforms[0])
            image_import.tag(engine, engine.image_id(part), name)


def _give_way(ctx: Context, image: str) -> None:
    """Point the names to the build of another run that has moved `latest` meanwhile: ours may have come after its own.

    That run itself names what it has not pushed or loaded yet.
    """
    where, engine = registry_of(ctx), ctx.engine()
    for _ in range(TURNS):
        record = stored_builds.latest_readable(ctx.store, image)
        if record is None or not check_names(ctx, record).reasons:
            return
        if all(engine.inspect(engine.image_id(part)) for part in record.parts or (record,)):
            _name_in_engine(ctx, record)
        if where and registry.digest_at(reference := _pushed(ctx, record), where):
            registry.tag(reference, where, [LATEST], log=ctx.log)


def load_missing(ctx: Context, record: Record) -> None:
    """Push to the registry and load into the engine what they lack of a build, from the store."""
    with work_folder(ctx.settings.work, str(uuid.uuid4())) as folder:
        layouts = _Layouts(ctx, record, folder)
        where, engine = registry_of(ctx), ctx.engine()
        if where and registry.digest_at(_pushed(ctx, record), where) is None:
            registry.push(layouts.whole, where, log=ctx.log)
        for number, part in enumerate(record.parts or (record,)):
            if not ctx.settings.work_pool and engine.inspect(engine.image_id(part)) is None:
                note_image(folder, engine.image_id(part))
                image_import.import_image(layouts.images[number], EngineBuilder(engine, context_name()))


@dataclass(frozen=True)
class _Layouts:
    """A build's images as OCI layouts in a work folder, made when they are first needed."""

    ctx: Context
    record: Record
    folder: Path

    @cached_property
    def images(self) -> list[Image]:
        return [
            stored_image.write_layout(
                self.ctx.store,
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
        return combine_images(self.images, self.folder / "index", read_blob(self.ctx.store, self.record.index))
