"""A night from the command line: Prefect is loaded when the first image has to be built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from flows.cleanup import clean_up
from flows.config.options import BuildOptions
from flows.publish.record import Record
from flows.runtime.context import Context
from flows.unchanged import build_changed, check_buildx
from rootfs.errors import BaseforgeError
from rootfs.recipe.base_images import base_images_first
from rootfs.recipe.recipe import image_names


class Night(BaseModel):
    """What a night did: a record for each image, the number of images by status, and the seconds of common steps."""

    model_config = ConfigDict(frozen=True)

    summary: dict[str, int]
    seconds: dict[str, float] = {}
    builds: tuple[Record, ...]


def night_of(ctx: Context, images: Sequence[str]) -> Night:
    """The night that has the command's records of these images."""
    records = tuple(ctx.results[image] for image in images)
    summary: dict[str, int] = dict(Counter[str](record.status for record in records))
    return Night(builds=records, summary=summary, seconds=dict(ctx.timeline.seconds))


def run_night(ctx: Context, only: tuple[str, ...], options: BuildOptions, run_flow: Callable[[], Night]) -> Night:
    """Build what has changed, whether or not an image fails.

    The nightly flow is run if an image has to be built or has failed, or if killed runs have left something behind,
    which it tells Prefect. It does not look at images again that the command has a record of.

    Raises BuildxMissing before anything is built.
    """
    left, ran = list[str](), list[Night]()
    images = base_images_first(image_names(*ctx.settings.recipes, only=only), *ctx.settings.recipes)

    def run() -> None:
        check_buildx(ctx, images, options)
        ran.append(run_flow())

    try:
        left += clean_up(ctx, lambda _: False)
    except BaseforgeError:  # the flow meets the same error and reports it
        run()
    else:
        build_changed(ctx, images, options, run)
    if not ran and (left or any(ctx.results[image].status == "failed" for image in images)):
        run()
    return ran[0] if ran else night_of(ctx, images)
