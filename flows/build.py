"""The flow that builds one image: from its recipe to a tested, published digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from flows.builder_tasks import leasing
from flows.config.options import BuildOptions
from flows.config.settings import load
from flows.image.errors import LayerDamaged
from flows.night.checking import note_checks
from flows.night.metrics import write_metrics
from flows.orchestration import outage
from flows.orchestration.flow import flow
from flows.platform_build import build_platform, workspace
from flows.publish.record import Record
from flows.publish_tasks import join_platforms, publish
from flows.published_names import Existing, move_names, naming
from flows.runtime.context import BuildContext, Context, open_build
from flows.runtime.leftovers import remove_leftovers
from flows.unchanged import failed, look_up, unchanged
from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.recipe.base_images import base_images_first

DAMAGED = (BlobDamaged, BlobMissing, LayerDamaged)
METRICS_PAUSE = 60.0  # seconds: writing the figures reads a document of each image
LONG = ("lock", "parts")  # fields that are too long for a table


def clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - names are Prefect's
    """Remove what the run has left on this machine after a cancel or a crash, perhaps in another process."""
    remove_leftovers(load().places, str(flow_run.id))


@flow(name="build", flow_run_name="{image} · build", clean_up=[clean_up])
def build(ctx: Context, image: str, options: BuildOptions = BuildOptions()) -> Record:  # noqa: B008 - frozen
    """Build one image, from its recipe to a published digest, after its base images."""
    with open_build(ctx, image, options) as build_ctx:
        build_base_images(build_ctx, image, options.model_copy(update={"named": options.named or (image,)}))
        try:
            record = run_build(build_ctx)
        except ArchiveMoved:
            build_ctx.apt(offline=options.offline).forget()
            build_ctx.answers.take_all()
            record = run_build(build_ctx)
        if record.status != "unchanged":
            show(record)
        if not isinstance(ctx, BuildContext):  # a run by itself, perhaps one of many on other machines
            note_checks(replace(build_ctx, results={**ctx.results, image: record}), [image])
            write_metrics(ctx.settings, ctx.store, ctx.progress.say, pause=METRICS_PAUSE)
        return record


def run_build(ctx: BuildContext) -> Record:
    """Build the image for each of its platforms and publish it, unless a build with these inputs is there already."""
    inputs, existing = look_up(ctx, as_tasks=True)
    if existing and (record := reuse(ctx, existing)):
        return record
    with workspace(ctx, inputs) as work:
        with leasing(ctx) as leased:
            platforms = [build_platform(leased, each, work) for each in inputs.platforms]
        image, record = join_platforms(ctx, inputs, platforms, work.trees)
        if not ctx.options.publishes(ctx.image):
            return record.model_copy(update={"status": "built", "seconds": dict(ctx.timeline.seconds)})
        return publish(ctx, image, record, platforms)


def reuse(ctx: BuildContext, existing: Existing) -> Record | None:
    """Move all names to the existing build and return its record; None if it is damaged in the store."""
    if not existing.reasons:
        return existing.record
    try:
        with naming(existing.record, but=DAMAGED):
            return move_names(ctx, existing)
    except DAMAGED as damage:
        ctx.progress.say(f"{ctx.image}: {damage.message}; it is built anew")
        return None


def build_base_images(ctx: Context, image: str, options: BuildOptions) -> None:
    """Build an image's base images, the lowest first, unless this command has done so."""
    for base in base_images_first([image], *ctx.settings.recipes)[:-1]:
        if base not in ctx.results:
            attempt(ctx, base, options)


def attempt(ctx: Context, image: str, options: BuildOptions) -> Record:
    """Build an image whose base images are built, and note the result. An unchanged image needs no flow run.

    A failure becomes a record of the status `failed`, which is not stored. The next image is built all the same.
    """
    with open_build(ctx, image, options) as build_ctx:
        try:
            record = unchanged(build_ctx) or build.run_in(build_ctx, image, options)
        except Exception as error:  # a bug that one image meets must not cost the others their night
            record = failed(build_ctx, error)
    ctx.results[image] = record
    return record


def show(record: Record) -> None:
    """Show the build in Prefect's pages."""
    rows = [[name, str(value)] for name, value in record.model_dump(mode="json").items() if value and name not in LONG]
    outage.show_table([dict(zip(("what", "value"), row, strict=True)) for row in rows], f"build-{record.image}")
