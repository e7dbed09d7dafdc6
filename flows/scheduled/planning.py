"""The plan of a night: what will be done with each image, and why. Needs no Prefect.

An image whose base image is to be built has inputs that nobody knows yet: it is decided when its turn comes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flows.config.options import BuildOptions
from flows.night import failures, history
from flows.night.changes import FORCED, why_built
from flows.night.document import Action, NewestNights, NightPlan, PackageChange, PlannedImage
from flows.night.failures import Failures
from flows.publish import stored_builds
from flows.publish.record import Record
from flows.runtime.context import BuildContext, Context, open_build, open_look
from flows.unchanged import failed, failure, look_up
from rootfs.errors import BaseforgeError
from rootfs.recipe.base_images import base_images_by_image, recipe_file
from rootfs.recipe.recipe import image_names
from rootfs.recipe.scratch import DEBUG_SUFFIX
from rootfs.system.text import first_line

Opened = Callable[[Context, str, BuildOptions], AbstractContextManager[BuildContext]]
NOT_BUILT = ("failed", "held", "paused")  # an image is held if its base image ended so
NO_MEMORY, NO_PLAN = Failures(), NightPlan(images=())


@dataclass
class ImageState:
    """What is known of an image in a night before it is built.

    `why` is why it is to be built, `before` its newest build, `inputs` stands for its inputs in the failure memory.
    """

    planned: Action = "wait"
    why: str = ""
    before: Record | None = None
    inputs: str = ""
    memory: Failures = NO_MEMORY
    seconds: float = 0.0


@dataclass
class NightRun:
    """A night from its plan to its end. `bases` are the images, base images first, and the base images of each."""

    options: BuildOptions
    only: tuple[str, ...]
    started: datetime
    before: NewestNights
    bases: Mapping[str, tuple[str, ...]]
    plan: NightPlan = NO_PLAN
    states: dict[str, ImageState] = field(default_factory=dict)

    @property
    def date(self) -> str:
        """The name of this night: when it started."""
        return f"{self.started:%Y%m%dT%H%M%SZ}"

    @property
    def number(self) -> int:
        """The number of this night. Only a night over all recipes counts."""
        return self.before.number + (0 if self.only else 1)

    def ignores_pause(self, image: str) -> bool:
        """Whether an image is tried although it has failed so often: it is named, or forced."""
        return image in self.only or self.options.forces(image)


def open_night(ctx: Context, only: Sequence[str], options: BuildOptions, opened: Opened = open_build) -> NightRun:
    """The night of this command: planned once, whoever asks first. Raises InputError."""
    found = ctx.opened.get("night", list[NightRun])
    if not found:  # planned without the lock of `opened`, which threads of a plan need
        found.append(_plan(ctx, tuple(only), options, opened))
    return found[0]


def dry_run(ctx: Context, only: Sequence[str], options: BuildOptions) -> NightPlan:
    """The plan of a night that does not take place: nothing is written, no log either. Raises InputError."""
    return open_night(ctx, only, options, open_look).plan


def _plan(ctx: Context, only: tuple[str, ...], options: BuildOptions, opened: Opened) -> NightRun:
    names = image_names(*ctx.settings.recipes, only=only)
    if only and not options.named:  # `force` is not for their base images
        options = options.model_copy(update={"named": only})
    bases = base_images_by_image(names, *ctx.settings.recipes)
    night = NightRun(options, only, datetime.now(UTC), _nights(ctx), bases)
    planned = []
    for image in bases:
        planned.append(each := decide(ctx, night, image, opened))
        night.states[image].planned = each.action
        if each.action != "unchanged":
            ctx.progress.say(f"plan: {image}: {each.action}: {first_line(each.reason)}")
    night.plan = NightPlan(images=tuple(planned))
    return night


def _nights(ctx: Context) -> NewestNights:
    """The nights before. If the store cannot be read, each image says so."""
    try:
        return history.read_nights(ctx.store)
    except BaseforgeError:
        return NewestNights()


def decide(ctx: Context, night: NightRun, image: str, opened: Opened = open_build) -> PlannedImage:
    """Decide what is done with an image. If it is not built, how it ended is noted in the context's results."""
    began = time.monotonic()
    state = night.states.setdefault(image, ImageState())
    if held := _held(ctx, night, image):
        planned = _ended(ctx, Record(image=image, status="held", reason=held))
    elif base := next((each for each in night.bases[image] if each not in ctx.results), None):
        planned = PlannedImage(image=image, action="wait", reason=f"its base image {base} is built first")
    else:
        try:
            with opened(ctx, image, night.options) as build_ctx:
                planned = _look(build_ctx, night, state)
        except BaseforgeError as problem:  # its log cannot be written
            planned = _ended(ctx, failure(image, problem))
    state.seconds += time.monotonic() - began
    return planned


def _held(ctx: Context, night: NightRun, image: str) -> str:
    """Why an image is held; empty if it is not."""
    for base in night.bases[image]:
        if (record := ctx.results.get(base)) and record.status in NOT_BUILT:
            how = "failed" if record.status == "failed" else f"is {record.status}"
            return f"its base image {base} {how}"
    return ""


def _look(ctx: BuildContext, night: NightRun, state: ImageState) -> PlannedImage:
    """Compute the inputs of an image and compare them with its builds."""
    try:
        inputs, existing = look_up(ctx)
        if existing and not existing.reasons:
            return _ended(ctx, existing.record)
        state.before = stored_builds.latest_readable(ctx.store, ctx.image)
        state.inputs = failures.inputs_key(inputs)
        if existing is None:
            return _to_build(ctx, night, state, *why_built(inputs, state.before))
    except Exception as error:  # one image must not cost the others their turn
        return _not_planned(ctx, night, state, failed(ctx, error))
    state.why = f"names moved: {'; '.join(existing.reasons)}"
    return PlannedImage(image=ctx.image, action="move", reason=state.why)


def _to_build(
    ctx: BuildContext, night: NightRun, state: ImageState, why: str, changes: tuple[PackageChange, ...]
) -> PlannedImage:
    """An image is built, unless it has failed with the same inputs too often."""
    if pause := _pause(ctx, night, state):
        return _ended(ctx, Record(image=ctx.image, status="paused", reason=pause))
    state.why = FORCED if night.options.forces(ctx.image) else why
    return PlannedImage(image=ctx.image, action="build", reason=state.why, changes=changes)


def _not_planned(ctx: BuildContext, night: NightRun, state: ImageState, record: Record) -> PlannedImage:
    """The inputs of an image cannot be computed: its recipe is wrong, or something does not answer."""
    file = recipe_file(ctx.image.removesuffix(DEBUG_SUFFIX), ctx.settings.recipes)
    state.inputs = failures.recipe_key(recipe_file(ctx.image, ctx.settings.recipes) or file)
    if not record.transient and (pause := _pause(ctx, night, state)):
        record = Record(image=ctx.image, status="paused", reason=pause)
    return _ended(ctx, record)


def _pause(ctx: BuildContext, night: NightRun, state: ImageState) -> str:
    """Why an image is not tried in this night; empty if it is, or if nobody knows."""
    with contextlib.suppress(BaseforgeError):
        state.memory = failures.read(ctx.store, ctx.image)
    return "" if night.ignores_pause(ctx.image) else state.memory.pause(state.inputs, night.number)


def _ended(ctx: Context, record: Record) -> PlannedImage:
    ctx.results[record.image] = record
    action: Action = record.status if record.status in ("held", "paused", "failed") else "unchanged"
    return PlannedImage(image=record.image, action=action, reason=record.reason)
