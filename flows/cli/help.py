"""The group of commands whose help shows whole sentences, and the option `--version`."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
