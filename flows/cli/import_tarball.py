"""The command `baseforge import`: an image of any distribution's tarball, without a recipe file."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer
from pydantic import ValidationError

from flows.cli import output
from flows.cli.arguments import Recipes
from flows.config.options import BuildOptions
from flows.config.paths import cache_folder, make_data_folder
from flows.config.settings import Settings, load
from flows.night.checking import note_checks
from flows.orchestration import local_server
from flows.runtime.context import open_context, store_of
from flows.runtime.workdir import work_folder
from rootfs.errors import InputError
from rootfs.packages.errors import another_archive, no_archive
from rootfs.packages.tarball_source import DownloadRequest, download_file
from rootfs.recipe.base_images import recipe_file
from rootfs.recipe.recipe import find_recipe
from rootfs.recipe.sections import MAX_TARBALL_BYTES, MAX_TARBALL_MEMBERS, TARBALL_NAME, is_address
from rootfs.recipe.tarball import TarballRecipe
from rootfs.recipe.yaml import load_yaml
from rootfs.tarball.errors import TarballRefused

STREAM = "-"
Patterns = list[str] | None


def import_(  # noqa: PLR0913, PLR0917 - each is an option
    name: Annotated[str, typer.Argument(metavar="NAME", help="the name of the image")],
    source: Annotated[str, typer.Argument(metavar="FILE|URL|-", help="a root filesystem as tar; - is standard input")],
    image: Annotated[
        bool, typer.Option("--image", help="it is an image archive (OCI, or as engines save it): take its layers")
    ] = False,
    strip: Annotated[int, typer.Option(metavar="N", help="drop so many folders from the start of each name")] = 0,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="the archive's sha256")] = None,
    setuid: Annotated[
        Patterns, typer.Option(metavar="PATTERN", help="files that may be set-uid or set-gid; repeatable")
    ] = None,
    leave_out: Annotated[Patterns, typer.Option(metavar="PATTERN", help="paths to leave out; repeatable")] = None,
    unlinked: Annotated[
        Patterns, typer.Option(metavar="PATTERN", help="files that may lack libraries; repeatable")
    ] = None,
    private_key: Annotated[
        Patterns,
        typer.Option(metavar="PATTERN=WHY", help="private keys that the image may have, and why; repeatable"),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="keep the usual devices in /dev")] = False,
    largest: Annotated[
        int, typer.Option(metavar="BYTES", help="how many bytes it may have unpacked")
    ] = MAX_TARBALL_BYTES,
    most: Annotated[int, typer.Option(metavar="N", help="how many members it may have")] = MAX_TARBALL_MEMBERS,
    cmd: Annotated[str, typer.Option(metavar="WORDS", help="the command that a container starts with")] = "",
    smoke: Annotated[Patterns, typer.Option(metavar="WORDS", help="a command that must work; repeatable")] = None,
    platform: Annotated[
        str, typer.Option(metavar="PLATFORM", help="the image's platform; default: this machine's")
    ] = "",
    builder: Annotated[str, typer.Option(metavar="NAME", help="import through this builder")] = "",
    force: Annotated[bool, typer.Option("--force", help="build also an unchanged image")] = False,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="make and test the image, but keep no build")
    ] = False,
    recipes: Recipes = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document on standard output")] = False,
) -> None:
    """Make an image from a tarball, without a recipe: checked, tested and published as any other."""
    settings, options = load(recipes), BuildOptions(builder=builder, force=force, publish=not no_publish)
    if there := recipe_file(name, settings.recipes):
        raise cannot_import(name, f"{there} is the recipe of an image of this name")
    keys: dict[str, Any] = {"devices": devices, "largest": largest, "most": most, "strip": strip}
    keys |= {"archive": "image"} if image else {}
    keys |= {"platforms": [platform]} if platform else {}
    keys |= {"setuid": setuid or (), "leave_out": leave_out or (), "unlinked": unlinked or ()}
    keys |= {"private_keys": [_allowed_key(each) for each in private_key or ()]}
    keys |= {"image": {"cmd": _words(name, cmd)}, "smoke": [{"run": _words(name, check)} for check in smoke or ()]}
    recipe = _recipe(name, source, sha256, keys)
    make_data_folder()
    digest = _store_archive(settings, recipe, source)
    with (
        _recipe_folder(recipe, digest, settings) as settings_with_recipe,
        open_context(settings_with_recipe) as ctx,
        local_server.connected(settings.server),
    ):
        from flows.build import attempt

        record = attempt(ctx, name, options)
        reason = with_options(record.reason, find_recipe(name, *settings_with_recipe.recipes))
        record = record.model_copy(update={"reason": reason})
        note_checks(ctx, [name], within=0)  # nothing that a night could check
        if status := output.builds([record], settings, ctx.progress, as_json):
            raise typer.Exit(status)


# The option that each key of the recipe of an import comes from.
OPTIONS = {
    "source": "FILE",
    "archive": "--image",
    "image": "--cmd",
    "platforms": "--platform",
    "private_keys": "--private-key",
}


def with_options(text: str, file: Path) -> str:
    """A text with the options of `import` instead of places in its recipe, which is a file that nobody has written."""
    document = load_yaml(file)
    for loc, place in sorted(document.places.items(), key=lambda each: -len(each[1])):
        if loc and place in text:
            key = str(loc[0])
            text = text.replace(place, OPTIONS.get(key, f"--{key.replace('_', '-')}"))
    return text.replace(f"{file}:1:1", "import")


def _allowed_key(text: str) -> dict[str, str]:
    path, _, why = text.partition("=")
    return {"path": path, "why": why}


def _words(name: str, line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise cannot_import(name, f"{line!r} is no command: {error}") from error


def _recipe(name: str, source: str, sha256: str | None, keys: dict[str, Any]) -> TarballRecipe:
    """The recipe of the import; without a given sha256 it has a placeholder. Raises InputError.

    The recipe names every local archive in the same way: the same bytes are the same image.
    """
    place = source if is_address(source) else TARBALL_NAME
    document = {"name": name, "kind": "tarball", "source": place, "sha256": sha256 or "0" * 64, **keys}
    try:
        recipe = TarballRecipe.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = str(first.get("ctx", {}).get("error", first["msg"]))
        raise cannot_import(name, f"{first['loc'][0]}: {why}" if first["loc"] else why) from error
    return recipe if sha256 else recipe.model_copy(update={"sha256": None})


def _store_archive(settings: Settings, recipe: TarballRecipe, source: str) -> str:
    """The archive's digest, once the store has it. Raises BuildError, and what reading or downloading raises."""
    store, expected = store_of(settings), f"sha256:{recipe.sha256}" if recipe.sha256 else None
    if expected and is_address(source) and store.has_blob(expected):
        return expected
    found: list[str] = []
    if is_address(source):
        cache, transfers = cache_folder() / "partial", settings.site.transfers()
        request = DownloadRequest(source, recipe.largest, cache, _drop_line, transfers)
        download_file(request, lambda got: found.append(store.put_blob(got.whole())))
    else:
        with _opened(source) as stream:
            found.append(store.put_blob(cast(BinaryIO, _Limited(stream, source, recipe.largest))))
    if expected and found != [expected]:
        raise another_archive(source, expected.removeprefix("sha256:"), found[0].removeprefix("sha256:"))
    return found[0]


def _drop_line(line: str) -> None:
    """Drop a line that a program prints."""


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """The archive as a stream. Raises InputError."""
    if source == STREAM:
        if sys.stdin is None or sys.stdin.isatty():
            hint = "Pipe an archive into the command, or name a file or an address instead of `-`."
            raise no_archive(source, "standard input is a terminal, or closed", hint)
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below; what the block raises is not about the file
    except (OSError, ValueError) as error:
        raise no_archive(source, getattr(error, "strerror", None) or str(error)) from error
    with file:
        yield file


class _Limited:
    """A stream of at most `largest` bytes."""

    def __init__(self, stream: BinaryIO, name: str, largest: int) -> None:
        self._stream, self._name, self._largest, self._size = stream, name, largest, 0

    def read(self, size: int = -1) -> bytes:
        """As a file's. Raises TarballRefused, InputError."""
        try:
            data = self._stream.read(size)
        except OSError as error:
            raise no_archive(self._name, error.strerror or str(error)) from error
        self._size += len(data)
        if self._size > self._largest:
            raise TarballRefused.too_large(self._largest)
        return data


@contextmanager
def _recipe_folder(recipe: TarballRecipe, digest: str, settings: Settings) -> Iterator[Settings]:
    """Settings with a folder of recipes that has just this one, while the block lasts."""
    document = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
    document["sha256"] = digest.removeprefix("sha256:")
    with work_folder(settings.work, str(uuid.uuid4())) as folder:
        (folder / f"{recipe.name}.yaml").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        yield settings.model_copy(update={"recipes": (folder,)})


def cannot_import(name: str, why: str) -> InputError:
    """The arguments of `import` make no valid recipe."""
    return InputError(f"{name!r} cannot be imported: {why}", hint="`baseforge import --help` shows what there is.")
