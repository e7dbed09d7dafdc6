"""The flow that makes one image: from its recipe to a tested, published digest."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.runtime import flow_run as this_run

from flows import interrupt
from flows.builders import engine
from flows.builders.choose import choose
from flows.choice import Choice
from flows.image import importer
from flows.leftovers import clear_away
from flows.lifecycle import builders, through
from flows.publish.record import Record
from flows.session import current, new_run, session
from flows.settings import load
from flows.tasks import (
    already_built,
    assemble,
    describe,
    make_tree,
    pack_tree,
    publish,
    record,
    resolve,
    smoke,
)
from flows.work import note_image, work_folder
from rootfs.errors import ArchiveMoved, Problem, Unexpected


def clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - names are Prefect's
    """After a cancel or a crash, perhaps in another process: nothing of this run stays on the machine."""
    clear_away(load().work, str(flow_run.id))


@flow(name="build", flow_run_name="{image} · build", on_cancellation=[clean_up], on_crashed=[clean_up])
def build(image: str, choice: Choice = Choice()) -> Record:  # noqa: B008 - frozen
    """One image, from its recipe to a published digest."""
    with session(), new_run(image):
        try:
            done = make(image, choice)
        except ArchiveMoved:
            current().forget_releases()
            done = make(image, choice)
        table(done)
        return done


def make(image: str, choice: Choice) -> Record:
    """The steps in order; a digest is the only link from one to the next."""
    wanted = resolve(image, choice)
    if not choice.force and (known := already_built(wanted)):
        return known
    chosen = choose(choice.builder, wanted.recipe.builder, current().settings)
    run_id, work = str(this_run.id), current().settings.work
    clear_away(work)
    with work_folder(work, run_id) as folder, engine.connect() as reached, ExitStack() as undo:
        with ExitStack() as running:
            members = make_tree(wanted, folder, running)
            packed = pack_tree(wanted, members, folder, running)
        made = assemble(wanted, packed, folder / "layout")
        if reached.inspect(image_id := reached.image_id(made)) is None:
            note_image(folder, image_id)
            undo.callback(importer.discard, reached, [image_id])  # which keeps an image that has got a name
        with builders(run_id) as held_by:
            used = through(made, chosen, held_by, reached)
        verdict = smoke(wanted, image_id, reached, run_id)
        done = describe(wanted, made, packed, used, verdict)
        if not choice.publish:
            return done.model_copy(update={"status": "built"})
        return record(done, publish(made, image_id, reached), packed)


def attempt(image: str, choice: Choice) -> Record:
    """Build an image; a failure is a record too, so that the next image gets its turn, but one that is not kept."""
    with session(), new_run(image) as run:
        try:
            return build(image, choice)
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
