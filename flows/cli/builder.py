"""The commands `baseforge builder …`: each calls one function of flows/builders/ and prints its result.

What they need is imported where it is: no other command has to wait for the engine's SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.builders.errors import BuilderFailing, BuildxFailed, invalid_builder
from flows.cli import builder_output, output
from flows.cli.arguments import CommandGroup, Json
from rootfs.errors import BuildError, InputError
from rootfs.mask import masked_values
from rootfs.system.errors import LockHeld

app = typer.Typer(
    cls=CommandGroup,
    help="Manage the builders that images are imported through.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

One = Annotated[str, typer.Argument(metavar="NAME", help="the builder; default BUILDX_BUILDER or the selected one")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME…")]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - each is an option
    name: Annotated[str, typer.Option(help="the builder's name; default: buildx makes one up")] = "",
    driver: Annotated[str, typer.Option(help="docker-container (default), kubernetes or remote")] = "",
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="remote: tcp://HOST:PORT, …; else a docker context or address")
    ] = "",
    driver_opt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="an option of the driver, as buildx has them; repeatable"),
    ] = None,
    buildkitd_config: Annotated[Path | None, typer.Option(metavar="FILE", help="buildkitd's configuration")] = None,
    buildkitd_flags: Annotated[str, typer.Option(metavar="FLAGS", help="buildkitd's flags, in one word")] = "",
    platform: Annotated[
        list[str] | None, typer.Option(metavar="P", help="a platform that it builds for; repeatable")
    ] = None,
    node: Annotated[str, typer.Option(help="the node's name")] = "",
    append: Annotated[bool, typer.Option("--append", help="add a node to the builder of this name")] = False,
    use: Annotated[bool, typer.Option("--use", help="select it")] = False,
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="start it")] = False,
) -> None:
    """Create a builder, or with --append one more node of one; print its name."""
    from flows.builders import manage

    driver = driver or (manage.check([name], "given nodes")[0].driver if append else "docker-container")
    plan = manage.planned(driver, endpoint, driver_opt or (), buildkitd_config, buildkitd_flags, platform or ())
    created = (manage.append if append else manage.create)(name, plan, node=node)
    if bootstrap:
        manage.first_boot(created, _say, undo=not append)
    if use:
        manage.use(created)
    typer.echo(created)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all builders, the selected one with a `*`, and errors with their reason."""
    from flows.builders.listing import listed

    found = listed()
    if as_json:
        output.print_json(masked_values([builder.model_dump(mode="json") for builder in found]))
    else:
        builder_output.builders(found)


@app.command()
def inspect(
    name: One = "",
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="start it first")] = False,
    as_json: Json = False,
) -> None:
    """Show one builder: nodes, options, state, and BuildKit's rules for clearing the cache."""
    from flows.builders import manage
    from flows.builders.listing import find, name_or_selected

    name = name_or_selected(name)
    found = manage.boot(name, _say) if bootstrap else find(name)
    if as_json:
        output.print_json(masked_values(found.model_dump(mode="json")))
    else:
        builder_output.builder(found)


@app.command()
def du(
    builder: Annotated[str, typer.Option(metavar="NAME", help="only this builder")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", help="show all details of each record")] = False,
    as_json: Json = False,
) -> None:
    """Show what builders have cached. Stopped builders are not started."""
    from flows.builders import usage

    found = usage.usage(builder)
    if as_json:
        output.print_json(usage.AllUsage.of(found).model_dump(mode="json"))
    else:
        builder_output.usage(found, verbose=verbose)


@app.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    default: Annotated[bool, typer.Option("--default", help="whenever this docker context is used")] = False,
    everywhere: Annotated[bool, typer.Option("--global", help="also when the docker context changes")] = False,
) -> None:
    """Select a builder for the current docker context."""
    from flows.builders import manage

    manage.use(name, default=default, everywhere=everywhere)


@app.command()
def stop(names: Names = None) -> None:
    """Stop builders, without NAME the selected one. Their caches stay."""
    from flows.builders import manage
    from flows.builders.listing import name_or_selected

    chosen = manage.check(names or [name_or_selected("")], "stopped")
    for builder in chosen:
        if builder.driver == "remote":
            _say(f"{builder.name}: a remote daemon is not ours to stop")
    _each([builder.name for builder in chosen if builder.driver != "remote"], manage.stop, "stopped")


@app.command()
def prune(
    builder: Annotated[str, typer.Option(metavar="NAME", help="default BUILDX_BUILDER or the selected one")] = "",
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="NAME=VALUE", help="until=24h, type=regular, …; repeatable")
    ] = None,
    keep_storage: Annotated[str, typer.Option(metavar="SIZE", help="how much to keep, such as 20GB")] = "",
    everything: Annotated[bool, typer.Option("--all", help="also what BuildKit keeps for itself")] = False,
    as_json: Json = False,
) -> None:
    """Clear a builder's cache without asking, and show how much was freed."""
    from flows.builders import usage

    done = usage.prune(builder, filters=filters or (), keep=keep_storage, everything=everything)
    if as_json:
        output.print_json(usage.Cleared.of(done).model_dump(mode="json"))
    else:
        builder_output.pruned(done)


@app.command()
def rm(
    names: Names = None,
    keep_state: Annotated[bool, typer.Option("--keep-state", help="keep the cache")] = False,
    keep_daemon: Annotated[bool, typer.Option("--keep-daemon", help="keep BuildKit running")] = False,
    all_inactive: Annotated[bool, typer.Option("--all-inactive", help="remove all builders that do not run")] = False,
    force: Annotated[bool, typer.Option("--force", help="also forget builders that cannot be reached")] = False,
) -> None:
    """Remove builders and their caches without asking. A remote daemon keeps running, with its cache."""
    from flows.builders import manage

    if bool(names) == all_inactive:
        raise invalid_builder(
            "say which builders are to be removed", "Give their names, or --all-inactive and no name."
        )
    chosen = [builder.name for builder in manage.check(names, "removed")] if names else manage.inactive(failing=force)

    def remove(name: str) -> None:
        manage.remove(name, keep_state=keep_state, keep_daemon=keep_daemon, force=force)

    _each(chosen, remove, "removed")


def _each(names: Sequence[str], do: Callable[[str], None], done: str) -> None:
    """Do it to all builders, even if one fails. Raises BuildError."""
    failed = []
    for name in dict.fromkeys(names):
        try:
            do(name)
        except (BuilderFailing, BuildxFailed, InputError, LockHeld) as problem:
            failed.append(str(problem))
        else:
            _say(f"{name}: {done}")
    if failed:
        raise BuildError("\n".join(failed))


def _say(line: str) -> None:
    builder_output.say(line, err=True)
