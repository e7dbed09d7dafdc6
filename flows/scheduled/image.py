"""The flow that builds one image of a night on a worker. How it ended goes to the store, where the night reads it."""

from __future__ import annotations

from importlib.metadata import version

from flows.build import attempt, clean_up
from flows.config.options import BuildOptions
from flows.orchestration.flow import flow
from flows.publish import attempt as attempts
from flows.publish.record import Record
from flows.runtime.context import Context, open_build
from flows.unchanged import failed
from rootfs.errors import BaseforgeError, BuildError, InputError
from rootfs.recipe.recipe import digest_recipe, files_folder, find_recipe, read_recipe


@flow(name="image", flow_run_name="{image} · {night}", clean_up=[clean_up])
def build_image(
    ctx: Context,
    image: str,
    night: str,
    planned: dict[str, str],
    options: BuildOptions = BuildOptions(),  # noqa: B008 - frozen
) -> Record:
    """Build one image as the night has `planned` it (see `plan_of`). Raises BuildError if it failed."""
    try:
        require_plan(ctx, image, planned)
    except BaseforgeError as problem:
        with open_build(ctx, image, options) as build_ctx:
            record = failed(build_ctx, problem)
    else:
        record = attempt(ctx, image, options)
    attempts.write(ctx.store, night, record)
    if record.status == "failed":
        raise BuildError(f"{image} failed: {record.reason}")
    return record


def plan_of(ctx: Context, image: str) -> dict[str, str]:
    """What must be the same on a worker: the store, Baseforge's version and the recipe. Raises InputError."""
    file = find_recipe(image, *ctx.settings.recipes)
    recipe = read_recipe(file, image, ctx.settings.recipes)
    return {
        "store": ctx.store.address,
        "Baseforge": version("baseforge"),
        "recipe": digest_recipe(recipe, files_folder(file)),
    }


def require_plan(ctx: Context, image: str, planned: dict[str, str]) -> None:
    """Check that this worker would make the image that the night has planned. Raises InputError."""
    here = plan_of(ctx, image)
    for what, value in planned.items():
        if here.get(what) != value:
            raise InputError(
                f"this worker has another {what} than the night's plan: {here.get(what)} instead of {value}",
                hint="Give all workers the same version of Baseforge, the same recipes and the same settings.",
            )
