"""The nightly flow: every recipe, base images first. Unchanged images are skipped; a failure stops nothing but the
images that build on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flows.build import attempt, clean_up
from flows.cleanup_flow import housekeeping
from flows.config.options import BuildOptions
from flows.night.document import Night
from flows.night.report import markdown
from flows.orchestration import outage
from flows.orchestration.flow import flow
from flows.publish.record import Record
from flows.runtime.context import Context
from flows.scheduled.distribution import build_on_worker, require_worker
from flows.scheduled.night_run import attempt_image, end_night
from flows.scheduled.planning import open_night
from flows.side_by_side import build_images
from rootfs.errors import BaseforgeError, BuildError


@flow(name="nightly", flow_run_name="nightly", clean_up=[clean_up])
def nightly(ctx: Context, only: tuple[str, ...] = (), options: BuildOptions = BuildOptions()) -> Night:  # noqa: B008
    """Build what has changed: every recipe, or those named in `only`. A builder is acquired once for all of them.

    Raises NightFailed at the end when an image failed, so that the run counts as failed; it carries the Night.
    """
    _tidy(ctx)
    night = open_night(ctx, only, options)
    if ctx.settings.work_pool:
        require_worker(ctx.settings.work_pool)
        build: Callable[[Context, str, BuildOptions], Record] = partial(build_on_worker, night=night.date)
    else:
        build = attempt
    build_images(ctx, list(night.bases), night.options, lambda here, image, _: attempt_image(here, night, image, build))
    done = end_night(ctx, night)
    outage.show_markdown(markdown(done), "nightly")
    if failed := [each.image for each in done.images if each.status == "failed"]:
        raise NightFailed(failed, done.model_dump_json())
    return done


def night_with_prefect(ctx: Context, only: tuple[str, ...], options: BuildOptions) -> Night:
    """Run the flow here; returns the Night even if an image failed."""
    try:
        return nightly.run_in(ctx, only, options)
    except NightFailed as failed:
        return Night.model_validate_json(failed.night)


def _tidy(ctx: Context) -> None:
    """Run housekeeping. If it fails, for example without an engine, the images are still built, or say why not."""
    try:
        housekeeping.run_in(ctx)
    except BaseforgeError as problem:
        ctx.progress.say(f"housekeeping failed: {problem}")


class NightFailed(BuildError):
    """Some images of a night failed; `night` is the whole night as JSON."""

    def __init__(self, images: list[str], night: str) -> None:
        super().__init__(f"failed: {', '.join(images)}", hint="`baseforge log IMAGE` shows what each printed.")
        self.night = night
