"""The flow that makes one image: from its recipe to a tested, published digest."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from flows import dockerfile_build, lookup, published_names
from flows.builder_tasks import Builders, builders, through
from flows.config.options import Choice
from flows.config.settings import load
from flows.description import describe
from flows.image.errors import LayerDamaged
from flows.inputs.resolve import Inputs
from flows.inputs.tree import empty_folder
from flows.orchestration import outage
from flows.orchestration.flow import flow
from flows.platform_build import Bench, Part, bench, make_image
from flows.publish.record import Record
from flows.publish_tasks import published, united
from flows.published_names import Existing
from flows.runtime.context import current, current_run, new_run, session
from flows.runtime.leftovers import clear_away
from flows.tasks import smoke
from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.recipe.base_images import parents_first

DAMAGED = (BlobDamaged, BlobMissing, LayerDamaged)


def clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - names are Prefect's
    """After a cancel or a crash, perhaps in another process: nothing of this run stays on the machine."""
    clear_away(load().places, str(flow_run.id))


@flow(name="build", flow_run_name="{image} · build", clean_up=[clean_up])
def build(image: str, choice: Choice = Choice()) -> Record:  # noqa: B008 - frozen
    """One image, from its recipe to a published digest, after those that it stands on."""
    with session(), new_run(image):
        make_parents(image, choice.model_copy(update={"named": choice.named or (image,)}))
        try:
            done = make(image, choice)
        except ArchiveMoved:
            current().apt(offline=choice.offline).forget()
            current_run().meant.clear()
            done = make(image, choice)
        if done.status != "unchanged":
            table(done)
        return done


def make(image: str, choice: Choice) -> Record:
    """The steps in order, for each platform, and one image of them all; a digest is the only link between steps."""
    wanted, existing = lookup.look_up(image, choice, shown=True)
    if existing and (known := reused(existing)):
        return known
    with ExitStack() as undo:
        place = bench(wanted, choice, undo)
        with builders(place.run_id) as held_by:
            parts = [make_part(each, place, held_by, offline=choice.offline) for each in wanted.parts]
        made, done = united(wanted, parts, place.place)
        if not choice.publish:
            return done.model_copy(update={"status": "built", "seconds": dict(current_run().timeline.seconds)})
        return published(made, done, parts)


def reused(existing: Existing) -> Record | None:
    """A build that is in the store, once all names point to it; None where it turns out to be damaged there."""
    if not existing.reasons:
        return existing.record
    try:
        with published_names.told(existing.record, but=DAMAGED):
            return published_names.move(existing)
    except DAMAGED as damage:
        current().progress.say(f"{existing.record.image}: {damage.message}; it is built anew")
        return None


def make_part(wanted: Inputs, here: Bench, held_by: Builders, *, offline: bool) -> Part:
    """One platform's image: made, imported through the chosen builder, and tested."""
    place = empty_folder(here.place / wanted.architecture)
    way = dockerfile_build.Way(here.chosen, held_by, here.engine, here.run_id)
    made, packed = make_image(wanted, place, way, offline=offline)
    image_id = here.watch(made)
    used = through(made, here.chosen, held_by, here.engine)
    verdict = smoke(wanted, image_id, here.engine, place, here.run_id)
    return Part(wanted, made, image_id, packed, describe(wanted, made, packed, used, verdict))


def make_parents(image: str, choice: Choice) -> None:
    """Build what an image stands on, the lowest first, as far as this session has not done so."""
    done, recipes = current().done, current().settings.recipes
    for parent in parents_first([image], recipes)[:-1]:
        if parent not in done:
            attempt(parent, choice)


def attempt(image: str, choice: Choice, *, of_night: bool = False) -> Record:
    """Build an image, after those that it stands on, and remember how that went.

    A failure is a record too, so that the next image gets its turn, but one that is not kept. One `of_night` that is
    unchanged costs no flow run of its own.
    """
    with session() as here:
        make_parents(image, choice)
        with new_run(image):
            try:
                known = lookup.unchanged(image, choice) if of_night else None
                ended = known or build(image, choice)
            except Exception as error:  # a bug that one image meets must not cost the others their night
                ended = lookup.failed(image, error)
        here.done[image] = ended
        return ended


LONG = ("lock", "parts")  # what no table has room for


def table(done: Record) -> None:
    """The build in Prefect's pages."""
    rows = [[name, str(value)] for name, value in done.model_dump(mode="json").items() if value and name not in LONG]
    outage.show([dict(zip(("what", "value"), row, strict=True)) for row in rows], f"build-{done.image}")
