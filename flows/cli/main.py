"""The command line: options in; one line or one JSON document, and an exit status, out."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli import builder as commands
from flows.cli import builds, import_tarball, night_output, output, workers
from flows.cli.arguments import (
    CommandGroup,
    Image,
    Images,
    Json,
    Recipes,
    SomeImages,
    StoredBuild,
    Version,
    recipe_names,
)
from flows.cli.builder_output import say
from flows.cli.recipe_check import check_recipes
from flows.config.options import BuildOptions
from flows.config.paths import check_data_folder, known_error, server_folder
from flows.config.settings import load, misspelt_variables, origins
from flows.config.site_folders import VARIABLE, find_site
from flows.night.checking import note_checks
from flows.night.metrics import write_metrics
from flows.orchestration import local_server, lost_server
from flows.orchestration.log_masking import masked_traceback
from flows.publish import stored_builds as publication
from flows.runtime import signals
from flows.runtime.context import open_context
from flows.scheduled import planning
from flows.scheduled.night_run import forget_failures, run_night
from flows.unchanged import build_changed, check_buildx
from rootfs.errors import BaseforgeError, InputError
from rootfs.process.run import replace_process
from rootfs.recipe.base_images import base_images_first
from rootfs.recipe.recipe import find_recipe, image_names, images_of, read_recipe
from rootfs.system.errors import cannot_write
from rootfs.system.output_path import check_output_path
from rootfs.system.platforms import architecture_of
from rootfs.system.text import is_unicode, printable

if TYPE_CHECKING:
    from flows.night.document import Night

INTERRUPTED = 130  # what typer makes of KeyboardInterrupt: 128 + SIGINT, as shells have it

app = typer.Typer(
    name="baseforge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=CommandGroup,
)
app.add_typer(commands.app, name="builder")
app.command("import")(import_tarball.import_)

Builder = Annotated[str, typer.Option("--builder", metavar="NAME", help="import through this builder")]
Offline = Annotated[bool, typer.Option("--offline", help="ask no archive: use the stored package lists and packages")]
Platforms = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="PLATFORM", help="a platform to build for, such as linux/arm64; repeatable"),
]
Engine = Annotated[Literal["mmdebstrap", "debootstrap"] | None, typer.Option(help="the program that makes the tree")]


@app.callback()
def _options(version: Version = False) -> None:
    """A base-image factory: from a recipe to a tested, published image."""


@app.command()
def build(
    images: Images,
    builder: Builder = "",
    platform: Platforms = None,
    engine: Engine = None,
    force: Annotated[bool, typer.Option("--force", help="build also unchanged images")] = False,
    offline: Offline = False,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="make and test the image, but do not keep it")
    ] = False,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Build images: make, import, smoke-test and publish those whose inputs have changed."""
    settings = load(recipes)
    named = _with_debug_images(images, settings.recipes)
    options = BuildOptions(
        builder=builder,
        engine=engine,
        force=force,
        offline=offline,
        publish=not no_publish,
        named=named,
        platforms=_known(platform),
    )
    ordered = base_images_first(named, *settings.recipes)
    with open_context(settings) as ctx, local_server.connected_on_demand(settings.server) as connect:

        def build_others() -> None:
            check_buildx(ctx, ordered, options)
            connect()
            from flows.side_by_side import build_images

            build_images(replace(ctx, run_id=str(uuid.uuid4())), ordered, options)

        build_changed(ctx, ordered, options, build_others)
        forget_failures(ctx, named)
        note_checks(ctx, ordered)
        write_metrics(settings, ctx.store, ctx.progress.say)
        _end(output.builds([ctx.results[image] for image in ordered], settings, ctx.progress, as_json))


@app.command()
def nightly(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="IMAGE", help="only this image; repeatable", autocompletion=recipe_names),
    ] = None,
    builder: Builder = "",
    force: Annotated[bool, typer.Option("--force", help="build also unchanged images, and those that keep failing")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be done, and why; build nothing")] = False,
    offline: Offline = False,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Build every recipe whose inputs have changed; a failure does not stop the others."""
    settings, options = load(recipes), BuildOptions(builder=builder, force=force, offline=offline)
    chosen = tuple(only or ())
    image_names(*settings.recipes, only=chosen)  # raises before work begins
    with open_context(settings) as ctx, local_server.connected_on_demand(settings.server) as connect:
        if dry_run:
            _end(night_output.plan(planning.dry_run(ctx, chosen, options), as_json))
            return

        def run_flow() -> Night:
            connect()
            from flows.scheduled.nightly import night_with_prefect

            return night_with_prefect(ctx, chosen, options)

        _end(night_output.night(run_night(ctx, chosen, options, run_flow), ctx.progress, as_json))


@app.command()
def validate(images: SomeImages = None, recipes: Recipes = None, as_json: Json = False) -> None:
    """Check recipes without building anything."""
    check_data_folder()
    output.checked(check_recipes(images or (), load(recipes).recipes), as_json)


@app.command()
def lock(
    image: Image,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a lock file, for a recipe's `lock:`")
    ] = None,
    platform: Platforms = None,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Resolve a recipe to today's packages, and show what changed since its newest build."""
    from flows.inputs.resolve import architectures, resolve_platform
    from rootfs.lock.lockfile import write_locks

    if write:
        check_output_path(write)
    with open_context(load(recipes)) as ctx:
        file = find_recipe(image, *ctx.settings.recipes)
        recipe = read_recipe(file, image, ctx.settings.recipes).model_copy(update={"lock": None})
        platforms = architectures(recipe, BuildOptions(platforms=_known(platform)))
        inputs = [resolve_platform(ctx, recipe, file, each) for each in platforms]
        found = {each.platform: each.newest for each in inputs}
        known = publication.latest_readable(ctx.store, image)
    if write:
        check_output_path(write)
        try:
            write_locks(found, write)
        except OSError as error:
            raise cannot_write(write, error.strerror or str(error)) from error
    output.locks(found, known, as_json)


@app.command()
def verify(
    reference: StoredBuild,
    against: Annotated[str, typer.Option(metavar="DIGEST", help="an image's manifest digest instead of its own")] = "",
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Make a build again from its record and the pool, without network, and compare every digest."""
    settings = load(recipes)
    with local_server.connected(settings.server):
        from flows.verify import run_verify

        with open_context(settings) as ctx:
            _end(output.verdict(run_verify(ctx, reference, against), as_json))


for name, command in builds.COMMANDS.items():
    app.command(name)(command)


@app.command()
def doctor(recipes: Recipes = None, as_json: Json = False) -> None:
    """Show what this machine has and lacks, with a hint for each problem, and the settings."""
    from flows.cli.doctor import report as examine

    settings = load(recipes)
    _end(output.doctor(examine(settings), settings, origins(find_site(recipes or ())), as_json))


@app.command()
def gc(recipes: Recipes = None, as_json: Json = False) -> None:
    """Remove what killed runs left (builders, containers, work folders), and finish what they published."""
    settings = load(recipes)
    with local_server.connected(settings.server):
        from flows.cleanup_flow import housekeeping

        with open_context(settings) as ctx:
            output.removed(housekeeping.run_in(ctx), as_json)


@app.command()
def serve(recipes: Recipes = None) -> None:
    """Run the nightly schedule, and builds that are started from the server's pages or `baseforge prefect`."""
    settings = load(recipes)
    if recipes:  # flow runs, which are processes of their own, take the same
        os.environ[VARIABLE] = os.pathsep.join(map(str, recipes))
    local_server.require_port(settings.server_port)
    with local_server.connected(settings.server, quiet=False) as address:
        from flows.scheduled.serve import run

        run(settings, address)


@app.command()
def page(recipes: Recipes = None) -> None:
    """Print the address of the local server's pages, and their login."""
    settings = load(recipes)
    local_server.require_port(settings.server_port)
    address = local_server.connect(settings.server).removesuffix("/api")
    typer.echo(address)
    if login := os.environ.get("PREFECT_API_AUTH_STRING"):
        typer.echo(f"login: {login}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
    options_metavar="",
)
def prefect(words: typer.Context) -> None:
    """Run a command of Prefect, such as `deployment run` or `flow-run ls`, with the server that builds use."""
    local_server.connect(load().server, quiet=False)
    os.chdir(server_folder())  # Prefect takes settings from its working folder: never from one of somebody else
    replace_process([sys.executable, "-P", "-m", "prefect", *words.args], os.environ)


for command in (workers.deploy, workers.worker):
    app.command()(command)


@app.command()
def stop() -> None:
    """Stop the local Prefect server that builds started in the background."""
    typer.echo("stopped" if local_server.stop() else "no local server was running", err=True)


@app.command()
def setup(
    no_engine: Annotated[bool, typer.Option("--no-engine", help="start no Docker engine")] = False,  # noqa: ARG001
    emulation: Annotated[bool, typer.Option("--emulation", help="also QEMU, for other platforms")] = False,  # noqa: ARG001
    buildx: Annotated[bool, typer.Option("--buildx", help="also buildx, for Dockerfiles and builders")] = False,  # noqa: ARG001
) -> None:
    """Install what builds need on this machine: a command of the start script `./baseforge` of a clone."""
    raise InputError(
        "`setup` is a command of the start script of a clone, which installs what this command line needs",
        hint="In a clone of Baseforge: ./baseforge setup. What is missing here says `baseforge doctor`.",
    )


def _with_debug_images(images: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """The images, each with the one for debugging where its recipe makes one. Raises InputError, RecipeInvalid."""
    found: dict[str, None] = {}
    for image in images:
        path = find_recipe(image, *folders)
        read_recipe(path, folders=folders)
        found |= dict.fromkeys(images_of(path) if image == path.stem else [image])
    return tuple(found)


def _known(platforms: Sequence[str] | None) -> tuple[str, ...]:
    """The chosen platforms, each once. Raises UnknownPlatform."""
    return tuple(each for each in dict.fromkeys(platforms or ()) if architecture_of(each))


def _end(status: int) -> None:
    if status:
        raise typer.Exit(status)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; every error a user can make ends in a few lines and an exit status, not a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    signals.handle_interrupts()
    status = _run([word for word in words if word != "--debug"], debug)
    signals.ignore_interrupts()
    if lost_server.reason():
        lost_server.leave(status)
    sys.exit(status)


def _run(words: list[str], debug: bool) -> int:
    if strange := [printable(word) for word in words if not is_unicode(word)]:
        say(f"baseforge: the argument {strange[0]} is not UTF-8 text: write it in UTF-8", err=True)
        return 2
    for warning in misspelt_variables():
        say(f"baseforge: warning: {warning}", err=True)
    try:
        app(words, prog_name="baseforge")
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseforgeError as problem:
        say(masked_traceback(problem) if debug else f"baseforge: {problem}", err=True)
        return problem.status
    except Exception as error:
        full = known_error(error)
        if not debug and signals.interrupted():
            status = INTERRUPTED
        elif full and not debug:
            say(f"baseforge: {full}", err=True)
            status = full.status
        else:
            say(masked_traceback(error), err=True)
            return 1
    if status == INTERRUPTED:
        typer.echo("baseforge: interrupted; `baseforge list` shows what is published", err=True)
    return status
