"""The flow that makes one image: from its recipe to a tested, published digest."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.runtime import flow_run as this_run

from flows import dockerfile, interrupt
from flows.builders import docker, engine
from flows.builders.choose import choose
from flows.builders.docker import Ahead
from flows.builders.life import ENGINE
from flows.choice import Choice
from flows.describe import describe
from flows.image import importer
from flows.image.oci import Image
from flows.inputs import Inputs
from flows.lean import flow
from flows.leftovers import clear_away
from flows.lifecycle import builders, through
from flows.memory import roomy_folder
from flows.parents import Ground, size_of
from flows.publish.record import AHEAD, Record
from flows.session import current, current_run, new_run, session
from flows.settings import cache_folder, load
from flows.tasks import (
    Packed,
    already_built,
    assemble,
    check_closure,
    fetch,
    lay_parent,
    make_tree,
    pack_tree,
    publish,
    record,
    resolve,
    signature,
    smoke,
)
from flows.work import note_image, work_folder
from rootfs.dockerfile import DockerfileRecipe
from rootfs.errors import ArchiveMoved, Problem, Unexpected
from rootfs.pack import Sink
from rootfs.parents import parents_first
from rootfs.recipe import TarballRecipe


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
    """The steps in order; a digest is the only link from one to the next."""
    wanted, known = meaning(image, choice)
    if known:
        return known
    below = size_of(current().store, wanted.parent) if wanted.parent else 0
    chosen = choose(choice.builder, wanted.recipe.builder, current().settings)
    run_id, settings = str(this_run.id), current().settings
    clear_away(settings.places)
    with ExitStack() as undo:
        folder = undo.enter_context(work_folder(settings.work, run_id))
        place = undo.enter_context(roomy_folder(settings.memory, wanted.lock, folder, run_id, below))
        reached = undo.enter_context(engine.connect())
        sends_ahead = chosen.driver == ENGINE and not below  # it would not know a layer on others again
        early = undo.enter_context(docker.ahead(reached, run_id)) if sends_ahead else None
        with builders(run_id) as held_by:
            way = dockerfile.Way(chosen, held_by, reached, run_id)
            made, packed = make_image(wanted, place, early, way, offline=choice.offline)
            if reached.inspect(image_id := reached.image_id(made)) is None:
                note_image(folder, image_id)
                undo.callback(importer.discard, reached, [image_id])  # which keeps an image that has got a name
            used = through(made, chosen, held_by, reached, early)
        verdict = smoke(wanted, image_id, reached, place, run_id)
        done = describe(wanted, made, packed, used, verdict)
        if not choice.publish:
            return done.model_copy(update={"status": "built"})
        return record(done, wanted, publish(made, image_id, reached), packed)


def meaning(image: str, choice: Choice) -> tuple[Inputs, Record | None]:
    """What the image means today, and the build that is just that, if it need not be built; asked once a run."""
    meant = current_run().meant
    if image not in meant:
        wanted = resolve(image, choice)
        meant[image] = wanted, None if choice.forces(image) else already_built(wanted)
    return meant[image]


def make_image(
    wanted: Inputs, place: Path, early: Ahead | None, way: dockerfile.Way, *, offline: bool
) -> tuple[Image, Packed]:
    """The image, and the layer that it has of its own, in which every program finds what it needs."""
    ground = lay_parent(wanted.parent, place) if wanted.parent else None
    if isinstance(wanted.recipe, DockerfileRecipe):
        packed, ground = dockerfile.make_layers(wanted, place, way, memo=cache_folder() / "frames", tee=early)
    else:
        packed = make_layer(wanted, place, early, ground, offline=offline)
    current_run().timeline.seconds[AHEAD] = round(early.busy, 3) if early else 0.0
    check_closure(wanted, packed, offline=offline)
    return assemble(wanted, packed, place / "layout", ground), packed


def make_layer(wanted: Inputs, place: Path, early: Sink | None, ground: Ground | None, *, offline: bool) -> Packed:
    """From the pool to a layer, with whatever earlier builds have left that saves work."""
    with ExitStack() as running:
        debs = fetch(wanted, place, offline=offline)
        if isinstance(wanted.recipe, TarballRecipe) and wanted.recipe.signature:
            signature(wanted, wanted.recipe, debs, offline=offline)
        members = make_tree(wanted, debs, place, running, kept=cache_folder() / "kept", ground=ground)
        return pack_tree(wanted, members, place, running, memo=cache_folder() / "frames", tee=early, ground=ground)


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
        here.done[image] = ended = _attempt(image, choice, of_night=of_night)
        return ended


def _attempt(image: str, choice: Choice, *, of_night: bool) -> Record:
    with new_run(image) as run:
        try:
            return (of_night and meaning(image, choice)[1]) or build(image, choice)
        except Exception as error:  # a bug that one image meets must not cost the others their night
            if interrupt.came():
                raise KeyboardInterrupt from error
            if not isinstance(error, Problem):
                traceback.print_exc(file=run.log_stream)
            problem = error if isinstance(error, Problem) else Unexpected(image, error)
        run.log(str(problem))
        return Record(
            image=image,
            build=run.build,
            status="failed",
            reason=str(problem),
            exit_status=problem.status,
            seconds=run.timeline.seconds,
        )


def table(done: Record) -> None:
    """The build in Prefect's pages."""
    rows = [[name, str(value)] for name, value in done.model_dump(mode="json").items() if value and name != "lock"]
    create_table_artifact([dict(zip(("what", "value"), row, strict=True)) for row in rows], key=f"build-{done.image}")
