"""A night from its plan to its document in the store. Prefect is loaded if an image has to be built."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version

from flows.cleanup import clean_up
from flows.config.options import BuildOptions
from flows.night import failures, freshness, history
from flows.night.changes import changes_between
from flows.night.checking import note_checks
from flows.night.cves import CveReader
from flows.night.document import GOOD, ImageNight, Night, NightDocument, PackageChange
from flows.night.metrics import write_metrics
from flows.night.notify import notify_of_night
from flows.publish.checks import Check, Checks
from flows.publish.record import Record
from flows.runtime.context import Context, open_build
from flows.scheduled.planning import ImageState, NightRun, decide, open_night
from flows.unchanged import check_buildx, failure
from rootfs.errors import BaseforgeError

Attempt = Callable[[Context, str, BuildOptions], Record]


def run_night(ctx: Context, only: tuple[str, ...], options: BuildOptions, run_flow: Callable[[], Night]) -> Night:
    """Build what has changed, whether or not an image fails.

    The nightly flow is run if the plan says that an image is built or has failed, or if killed runs have left something
    behind, which it tells Prefect. It goes on with the plan. Raises BuildxMissing before anything is built.
    """
    try:
        left = bool(clean_up(ctx, lambda _: False))
    except BaseforgeError:  # the flow meets the same error and reports it
        left = True
    night = open_night(ctx, only, options)
    if not left and all(each.action in ("unchanged", "held", "paused") for each in night.plan.images):
        return end_night(ctx, night)
    check_buildx(ctx, list(night.bases), options)
    return run_flow()


def attempt_image(ctx: Context, night: NightRun, image: str, attempt: Attempt) -> None:
    """Build an image whose turn has come by `attempt`, unless it turns out that it is unchanged, held or paused.

    What to do is decided again: its base images have ended, and another run may have built it meanwhile.
    """
    try:
        with open_build(ctx, image, night.options) as build_ctx:
            decide(build_ctx, night, image)
            if image not in ctx.results:
                began = time.monotonic()
                attempt(build_ctx, image, night.options)
                night.states[image].seconds += time.monotonic() - began
    except BaseforgeError as problem:  # its log cannot be written
        ctx.results.setdefault(image, failure(image, problem))


def end_night(ctx: Context, night: NightRun) -> Night:
    """Remember the failures, and keep the night's document in the store."""
    alarms, reader = _remember(ctx, night), CveReader(ctx.store)
    noted = note_checks(ctx, night.bases, whole_night=not night.only)
    alarms += _alarms(ctx, noted, night.bases)
    document = NightDocument(
        date=night.date,
        number=night.number,
        started=f"{night.started:%Y-%m-%dT%H:%M:%SZ}",
        ended=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        host=platform.node(),
        version=version("baseforge"),
        only=night.only,
        images=tuple(_image(ctx, night, image, reader, noted.images.get(image)) for image in night.bases),
        seconds=dict(ctx.timeline.seconds),
        alarms=tuple(alarms),
    )
    problems = notify_of_night(ctx.settings, ctx.store, document, ctx.progress.say)
    document = document.model_copy(update={"alarms": (*document.alarms, *problems)})
    try:
        document = history.keep_night(ctx.store, document)
    except BaseforgeError as problem:
        alarm = f"the document of this night is not in the store: {problem.message}"
        ctx.progress.say(f"warning: {alarm}")
        document = document.model_copy(update={"alarms": (*document.alarms, alarm)})
    write_metrics(ctx.settings, ctx.store, ctx.progress.say)
    return Night(**dict(document), builds=tuple(ctx.results[image] for image in night.bases))


def _alarms(ctx: Context, noted: Checks, images: Iterable[str]) -> list[str]:
    """The images of the night that are stale, and whose distributions lose their support."""
    found = freshness.night_alarms(ctx.store, ctx.settings.fresh_within, noted, images)
    for alarm in found:
        ctx.progress.say(f"warning: {alarm}")
    return found


def forget_failures(ctx: Context, images: Iterable[str]) -> None:
    """Forget the failures of images that were built by hand, whatever came of it: the next night tries them again."""
    for image in images:
        if ctx.results[image].status != "unchanged":
            with contextlib.suppress(BaseforgeError):
                failures.forget(ctx.store, image)


def _remember(ctx: Context, night: NightRun) -> list[str]:
    """Note the failures of the night, and forget those of images that went well. Returns what could not be noted."""
    problems = []
    for image, state in night.states.items():
        record = ctx.results[image]
        try:
            if record.status == "failed" and not (record.transient or night.options.offline):
                failures.note(ctx.store, image, state.inputs, night.number, record.reason)
            elif record.status in GOOD and (state.memory.times or image in night.before.failing):
                failures.forget(ctx.store, image)
        except BaseforgeError as problem:
            problems.append(f"{image}: how it ended is not remembered: {problem.message}")
            ctx.progress.say(f"warning: {problems[-1]}")
    return problems


def _image(ctx: Context, night: NightRun, image: str, reader: CveReader, check: Check | None) -> ImageNight:
    record, state = ctx.results[image], night.states[image]
    return ImageNight(
        image=image,
        status=record.status,
        planned=state.planned,
        why=state.why,
        reason=record.reason or (state.why if record.status in ("published", "built") else ""),
        build=record.build,
        manifest_digest=record.manifest_digest,
        seconds=round(state.seconds, 3),
        changes=_changes(ctx, state, record, reader),
        waiting=check.waiting if check else (),
        transient=record.transient,
        recovered=record.status in GOOD and image in night.before.failing,
    )


def _changes(ctx: Context, state: ImageState, record: Record, reader: CveReader) -> tuple[PackageChange, ...]:
    """The packages that differ from the build before; none if the store cannot be read."""
    if record.status not in ("published", "moved"):
        return ()
    try:
        return changes_between(reader, state.before, record)
    except BaseforgeError as problem:
        ctx.progress.say(f"{record.image}: its changes are not known: {problem}")
        return ()
