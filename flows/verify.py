"""The flow that makes a build again, out of what was kept of it alone, and compares every digest of the chain."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from flows import dockerfile_build
from flows.build import clean_up
from flows.builder_tasks import builders
from flows.builders import engine
from flows.builders.lifecycle import ENGINE
from flows.config.options import Choice
from flows.image.index import descriptor, index_of
from flows.image.oci import Image
from flows.inputs.parents import size_of
from flows.inputs.resolve import Inputs, chosen_engine
from flows.inputs.tree import empty_folder
from flows.orchestration import outage
from flows.orchestration.flow import flow
from flows.orchestration.step import step
from flows.platform_build import see_it_runs
from flows.publish import integrity, records, sources_bundle, verification
from flows.publish.errors import NotReproduced
from flows.publish.record import Record
from flows.publish.verification import Expected, Link, Verdict
from flows.runtime.context import current, current_run, new_run, session
from flows.runtime.leftovers import clear_away
from flows.runtime.memory import needed, roomy_folder
from flows.runtime.workdir import work_folder
from flows.tasks import assemble, fetch, lay_parent, make_tree, pack_tree
from rootfs.errors import BaseforgeError, BuildError
from rootfs.lock.lock import tool_versions
from rootfs.recipe.kinds import needs_builder
from rootfs.recipe.recipe import digest, folder_of, lineage_of, read
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import architecture_of

Made = dict[str, Any] | None  # what an index says of the image; of one that is not made again there is nothing
ENGINES: tuple[Literal["mmdebstrap", "debootstrap"], ...] = ("mmdebstrap", "debootstrap")


@flow(name="verify", flow_run_name="{reference} · verify", clean_up=[clean_up])
def verify(reference: str, against: str = "") -> Verdict:
    """Make `IMAGE` or `IMAGE@BUILD` again and compare it with its record, or with another image's manifest digest.

    What the store has of the build is read as well: the blobs that are missing or damaged are in the Verdict.

    No network and no engine is needed: the pool has the packages, and nothing is imported; only a Dockerfile needs its
    builder. Raises NotReproduced, which carries the Verdict.
    """
    with session() as here:
        record = records.build_of(here.store, reference)
        with new_run(record.image):
            damage = stored(record)
            found = again(record, against).model_copy(update={"damage": tuple(map(str, damage))})
    if found.status in ("differs", "damaged"):
        raise NotReproduced(f"{record.image}@{record.build}", found.ending, found.model_dump_json())
    return found


def verified(reference: str, against: str = "") -> Verdict:
    """Run the flow here; the Verdict, whether or not it is the same image."""
    try:
        return verify(reference, against)
    except NotReproduced as failed:
        return Verdict.model_validate_json(failed.verdict)


@step("read {record.image}", network=True)
def stored(record: Record) -> list[BaseforgeError]:
    """Read every blob of the build; returns an error for each that is missing or damaged."""
    damage = integrity.damage(current().store, record, read=True)
    current().progress.note(f"{len(damage)} blobs missing or damaged" if damage else "all blobs are there")
    return damage


def again(record: Record, against: str) -> Verdict:
    """The image once more: for each of its platforms, and the index over them."""
    store = current().store
    if not record.parts:
        return compared(record, verification.expected(store, record, against))[0]
    found = [compared(part, verification.expected(store, part)) for part in record.parts]
    manifests = [made for _, made in found if made]
    index = digest_of_bytes(index_of(manifests)) if len(manifests) == len(found) else ""
    return verification.united(
        record, [said for said, _ in found], verification.digest_said(against) or record.index, index
    )


def compared(record: Record, then: Expected) -> tuple[Verdict, Made]:
    """The steps in order, with nothing that an earlier build has left but the pool."""
    run_id, settings = outage.run_id(), current().settings
    clear_away(settings.places)
    size = needed(record.lock, size_of(current().store, record.parent) if record.parent else 0)
    with ExitStack() as undo:
        folder = undo.enter_context(work_folder(settings.work, run_id))
        place = undo.enter_context(roomy_folder(settings.memory, size, folder, run_id))
        wanted = recall(record, empty_folder(place / "recipe"))
        see_it_runs(wanted, None)
        if needs_builder(wanted.recipe):
            return built_again(record, wanted, then, place)
        debs = fetch(wanted, place, offline=True)
        found = replace(wanted, lock=verification.lock_of(record.lock, debs), tools=record.tools)
        ground = lay_parent(record.parent, place) if record.parent else None
        with ExitStack() as running:
            members = make_tree(wanted, debs, place, running, cache=None, ground=ground)
            packed = pack_tree(wanted, members, place, running, memo=None, ground=ground)
        return judged(record, wanted, found, then, assemble(wanted, packed, place / "layout", ground), place)


def built_again(record: Record, wanted: Inputs, then: Expected, place: Path) -> tuple[Verdict, Made]:
    """The same for a recipe whose layers a builder makes: the one that is chosen today, without what it has cached."""
    recipe, run_id = wanted.recipe, outage.run_id()
    found = replace(wanted, tools=record.tools)
    if recipe.no_because:
        said = Verdict(
            image=record.image,
            build=record.build,
            links=inputs_of(record, found),
            tools=verification.tools(record.tools, wanted.tools),
            no_because=recipe.no_because,
        )
        return said, None
    chosen = current().builder("", recipe.builder)
    with ExitStack() as undo:
        reached = undo.enter_context(engine.connect()) if chosen.driver == ENGINE else None
        way = dockerfile_build.Way(chosen, undo.enter_context(builders(run_id)), reached, run_id)
        packed, ground = dockerfile_build.LAYER_MAKERS[recipe.kind](wanted, place, way, memo=None)
    return judged(record, wanted, found, then, assemble(wanted, packed, place / "layout", ground), place)


def judged(
    record: Record, wanted: Inputs, found: Inputs, then: Expected, made: Image, place: Path
) -> tuple[Verdict, Made]:
    """How the image that was made again compares, and what an index says of it."""
    said = compare(made, then, empty_folder(place / "compare"))
    judgement = Verdict(
        image=record.image,
        build=record.build,
        links=(*inputs_of(record, found), *then.links(made)),
        tools=verification.tools(record.tools, wanted.tools),
        differences=tuple(said[: verification.SHOWN]),
        different=len(said),
        seconds=dict(current_run().timeline.seconds),
    )
    return judgement, descriptor(made)


@step("recall {record.image}", network=True)
def recall(record: Record, folder: Path) -> Inputs:
    """What the build was made of: its recipe as it was then, and its lock. Raises BuildError."""
    if not record.ingredients:
        raise BuildError(
            f"the record of {record.image}@{record.build} has no ingredients: it is of a time before they were kept",
            hint=f"`baseforge build {record.image} --force` makes a build that can be verified.",
        )
    file = sources_bundle.unpack(current().store, record.ingredients, folder)
    engines = (name for name in ENGINES if name in record.tools)
    recipe = chosen_engine(read(file, record.image, pooled=True), Choice(engine=next(engines, None)))
    return Inputs(
        recipe=recipe,
        file=file,
        architecture=architecture_of(record.platforms[0]),
        newest=record.lock,
        lock=record.lock,
        tools=tool_versions(recipe),
        recipe_digest=digest(recipe, folder_of(file)),
        lineage=lineage_of(recipe, file),
        parent=record.parent,
        bases=record.bases,
    )


def inputs_of(record: Record, found: Inputs) -> tuple[Link, ...]:
    """The first links, up to the input digest; `found` has the tools of then, as those of now are told apart."""
    return (
        Link(name="recipe", recorded=record.recipe_digest, found=found.recipe_digest),
        Link(name="lock", recorded=record.lock_digest, found=found.lock.digest),
        Link(name="input", recorded=record.input_digest, found=found.digest),
    )


@step("compare {made.name}", network=True)
def compare(made: Image, then: Expected, folder: Path) -> list[str]:
    """What differs from the image of then, by member; nothing where the digests are the same."""
    said = verification.differences(current().store, then, made, folder, current_run().log)
    current().progress.note(f"{len(said)} differences" if said else "the same")
    return said
