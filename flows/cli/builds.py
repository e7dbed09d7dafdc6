"""The commands that only look at what is in the store: list, show, log, export, latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import output
from flows.cli.arguments import Json, Recipes, StoredBuild, stored_names
from flows.config.settings import load
from flows.night.latency import read_latency
from flows.publish import newest, stored_builds
from flows.publish.errors import no_image
from flows.runtime.context import store_of
from rootfs.errors import InputError, nearest
from rootfs.system.output_path import check_output_path
from rootfs.system.text import format_size


def list_(recipes: Recipes = None, as_json: Json = False) -> None:
    """List the images in the store with their newest builds; exit status 1 if a record cannot be read."""
    if status := output.listing(stored_builds.newest_builds(store_of(load(recipes))), as_json):
        raise typer.Exit(status)


def show(
    reference: StoredBuild,
    packages: Annotated[
        bool, typer.Option("--packages", help="also the packages of the image, with their versions")
    ] = False,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Show one build: digests, sizes, seconds and smoke tests; and which build `latest` means, since when, and why."""
    store = store_of(load(recipes))
    record = stored_builds.find_build(store, reference)
    installed = stored_builds.installed_packages(store, record) if packages else None
    output.one(record, newest.read_if_valid(store, record.image), as_json, installed)


def log(reference: StoredBuild, recipes: Recipes = None) -> None:
    """Show what a build's programs printed; without BUILD, those of the newest run, also if it failed."""
    output.log(store_of(load(recipes)), reference)


def export(
    reference: StoredBuild,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NAME.tar.zst, NAME.tar or NAME.oci.tar")],
    platform: Annotated[str, typer.Option(metavar="PLATFORM", help="only this platform, such as linux/arm64")] = "",
    recipes: Recipes = None,
) -> None:
    """Write a build to a file: its rootfs (.tar.zst, .tar) or its image (.oci.tar, for docker load and podman load)."""
    from flows.image.export import export as write

    check_output_path(file)
    store = store_of(load(recipes))
    record = stored_builds.find_build(store, reference)
    digests = {each.platforms[0]: each.manifest_digest for each in (record.own, *record.parts)}
    if platform and platform not in digests:
        raise InputError(
            f"{record.image} is not for {platform}, only for {', '.join(record.platforms)}",
            hint="Name one of these with `--platform`, or name this one in the recipe's `platforms` and build again.",
        )
    part = digests[platform] if platform else record.own.manifest_digest
    write(store, part, file, reference=f"{record.image}:{record.build}", index="" if platform else record.index)
    contents = ": each layer twice, compressed and, for `docker load` of old engines, as a tar"
    explained = contents if file.name.endswith(".oci.tar") else ""
    typer.echo(f"{file}: {record.image}@{record.build} ({format_size(file.stat().st_size)}{explained})", err=True)


def latency(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="default: all", autocompletion=stored_names)] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=36500, help="builds of so many days")] = 90,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Show how long updates took from the archive's Release file to the published image, by image and CVE number."""
    store = store_of(load(recipes))
    known = stored_builds.images(store)
    if image and image not in known:
        raise no_image(image, nearest(image, known))
    output.latency(read_latency(store, [image] if image else known, days), as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "log": log,
    "export": export,
    "latency": latency,
}
