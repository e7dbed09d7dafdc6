"""What several commands have: arguments and options, names that the shell completes for them, and how help is shown."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.config.settings import Settings, load
from flows.publish import stored_builds
from flows.runtime.context import store_of
from flows.store.folder import FolderStore
from flows.store.keys import is_valid_name
from rootfs.errors import BaseforgeError
from rootfs.recipe.recipe import image_names

Recipes = Annotated[
    list[Path] | None,
    typer.Option("--recipes", metavar="DIR", help="a folder of recipes, or `shelf`; repeatable"),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on standard output")]


def recipe_names(context: typer.Context, incomplete: str) -> list[str]:
    """The images of recipes that begin so; none where the settings or a recipe cannot be read."""
    return _names(context, incomplete, lambda settings: image_names(*settings.recipes))


def stored_names(context: typer.Context, incomplete: str) -> list[str]:
    """The images in the store that begin so. A store in S3 is not asked: a shell must not wait for the network."""

    def stored(settings: Settings) -> list[str]:
        store = store_of(settings)
        return stored_builds.images(store) if isinstance(store, FolderStore) else image_names(*settings.recipes)

    return _names(context, incomplete, stored)


def _names(context: typer.Context, incomplete: str, find: Callable[[Settings], list[str]]) -> list[str]:
    """Valid names alone: a file may have any name, and some shells take words that are completed without quotes."""
    with contextlib.suppress(BaseforgeError):
        names = find(load(context.params.get("recipes")))
        return [name for name in names if name.startswith(incomplete) and is_valid_name(name)]
    return []


Image = Annotated[str, typer.Argument(metavar="IMAGE", help="the name of a recipe", autocompletion=recipe_names)]
Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="names of recipes", autocompletion=recipe_names)]
SomeImages = Annotated[
    list[str] | None,
    typer.Argument(metavar="IMAGE", help="names of recipes; default: all", autocompletion=recipe_names),
]
StoredBuild = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE[@BUILD]", help="an image, or one of its builds; default: the newest", autocompletion=stored_names
    ),
]


SENTENCE = re.compile(r".*?\.(?=\s|$)", re.DOTALL)


class CommandGroup(TyperGroup):
    """A group that lists each command with the first sentence of its help; typer would cut it at the end of a line."""

    def get_command(self, ctx: Any, name: str) -> Any:  # noqa: ANN401 - typer's inner types
        """The command of this name, if there is one."""
        command = super().get_command(ctx, name)
        if command is not None and not command.short_help:
            command.short_help = first_sentence(command.help or "")
        return command


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, in one line."""
    found = SENTENCE.match(text := inspect.cleandoc(text))
    return " ".join((found[0] if found else text).split())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"baseforge {version('baseforge')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
]
