"""Find out which images are unchanged, and whether others can be built, before work begins and Prefect is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from flows.builders.buildx_cli import available
from flows.builders.errors import BuildxMissing
from flows.builders.listing import ENGINE
from flows.config.options import BuildOptions
from flows.config.paths import known_error
from flows.inputs.resolve import ImageInputs
from flows.night import checking
from flows.orchestration.log_masking import masked_traceback
from flows.publish.record import Record
from flows.published_names import Existing, find_existing
from flows.runtime import signals
from flows.runtime.context import BuildContext, Context, open_build
from flows.tasks import resolve
from rootfs.errors import BaseforgeError, BuildError, InputError
from rootfs.recipe.base import Recipe
from rootfs.recipe.base_images import base_images_by_image
from rootfs.recipe.kinds import needs_builder
from rootfs.recipe.recipe import find_recipe, read_recipe
from rootfs.system.errors import DiskFull


def look_up(ctx: BuildContext, *, as_tasks: bool = False) -> tuple[ImageInputs, Existing | None]:
    """The image's inputs, and the existing build with the same inputs if it need not be built; asked once a build.

    Network failures are tried again. Prefect's pages show the look-up only if it runs `as_tasks`.
    """

    def ask() -> tuple[ImageInputs, Existing | None]:
        inputs = resolve(ctx) if as_tasks else resolve.without_prefect(ctx)
        if not ctx.options.offline:
            checking.look(ctx, inputs)
        if ctx.options.forces(ctx.image):
            return inputs, None
        return inputs, find_existing(ctx, inputs) if as_tasks else find_existing.without_prefect(ctx, inputs)

    return ctx.answers.get("inputs", ask)


def unchanged(ctx: BuildContext) -> Record | None:
    """The record of an unchanged image to which all names point; None if there is something to do."""
    existing = look_up(ctx)[1]
    return existing.record if existing and not existing.reasons else None


def failed(ctx: BuildContext, error: Exception) -> Record:
    """The record of a build that failed, which is not stored. The error goes to the build's log.

    Raises KeyboardInterrupt if the error is the consequence of an interrupt.
    """
    if signals.interrupted():
        raise KeyboardInterrupt from error
    problem = error if isinstance(error, BaseforgeError) else known_error(error)
    with contextlib.suppress(DiskFull):  # of the log; the error that ended the build is reported
        ctx.log(str(problem) if problem else masked_traceback(error))
    problem = problem or BuildError(
        f"a bug: {type(error).__name__}: {error}",
        hint=f"`baseforge log {ctx.image}` has the traceback. Please report it.",
    )
    record = failure(ctx.image, problem)
    return record.model_copy(update={"build": ctx.build, "seconds": ctx.timeline.seconds})


def failure(image: str, problem: BaseforgeError) -> Record:
    """The record of an image that failed with this error before its build had begun. It is not stored."""
    return Record(
        image=image,
        status="failed",
        reason=str(problem),
        exit_status=problem.status,
        transient=problem.transient,
    )


def build_changed(ctx: Context, images: Iterable[str], options: BuildOptions, build: Callable[[], object]) -> None:
    """Look the images up in order, base images first, and call `build` at the first one that has to be built.

    The command then has the records of the images before it. `build` builds all others. Meanwhile the context of the
    first one stays open, with its log and its inputs.
    """
    for image in images:
        with open_build(ctx, image, options) as build_ctx:
            try:
                record = unchanged(build_ctx)
            except Exception as error:  # one image must not cost the others their turn
                record = failed(build_ctx, error)
            if record is None:
                build()
                return
            ctx.results[image] = record


def check_buildx(ctx: Context, images: Iterable[str], options: BuildOptions) -> None:
    """Check before anything is built that buildx is there, if an image to be built needs it. Raises BuildxMissing."""
    if available():
        return
    folders = ctx.settings.recipes
    left = {image: bases for image, bases in base_images_by_image(images, *folders).items() if image not in ctx.results}
    for image, bases in left.items():
        with contextlib.suppress(InputError):  # which the image's own build reports
            recipe = read_recipe(find_recipe(image, *folders), image, folders)
            if _needs_buildx(ctx, recipe, options) and (left.keys() & bases or not _is_unchanged(ctx, image, options)):
                raise BuildxMissing


def _needs_buildx(ctx: Context, recipe: Recipe, options: BuildOptions) -> bool:
    try:
        return needs_builder(recipe) or ctx.builder(options.builder, recipe.builder).driver != ENGINE
    except BuildxMissing:
        return True


def _is_unchanged(ctx: Context, image: str, options: BuildOptions) -> bool:
    """Whether the image's inputs are those of an existing build; what goes wrong is its own build's to report."""
    try:
        with open_build(ctx, image, options) as build_ctx:
            return unchanged(build_ctx) is not None
    except BaseforgeError:
        return False
