"""The commands that only look at what is in the store: list, show, log, export, latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len

from flows.cli import builder_output, output
from flows.cli.arguments import Json, Recipes, StoredBuild, stored_names
from flows.cli.builder_output import Table, say, terminal_width
from flows.cli.json_output import ListedImage
from flows.cli.output import print_json
from flows.config.settings import load
from flows.night.freshness import ImageState, read_fleet, read_states
from flows.night.latency import read_latency
from flows.publish import newest, stored_builds
from flows.publish.errors import RecordDamaged, no_image
from flows.publish.record import Record
from flows.runtime.context import store_of
from flows.store.store import Store
from rootfs.errors import InputError, nearest
from rootfs.system.output_path import check_output_path
from rootfs.system.text import format_seconds, format_size


def list_(
    stale: Annotated[
        bool, typer.Option("--stale", help="only images whose last check is too old; exit status 1 if there are any")
    ] = False,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """List the images in the store with their newest builds; exit status 1 if a record cannot be read."""
    settings = load(recipes)
    store = store_of(settings)
    if stale:
        states = {state.image: state for state in read_states(store, settings.fresh_within) if state.stale}
        records = stale_builds(store, states.values())
    else:
        records = stored_builds.newest_builds(store)
        fleet = read_fleet(store, settings.fresh_within)
        states = {each.image: fleet.of(each.image, each if each.build else None) for each in records}
    if listing(records, as_json, states) or (stale and records):
        raise typer.Exit(1)


def show(
    reference: StoredBuild,
    packages: Annotated[
        bool, typer.Option("--packages", help="also the packages of the image, with their versions")
    ] = False,
    recipes: Recipes = None,
    as_json: Json = False,
) -> None:
    """Show one build: digests, sizes, seconds and smoke tests; and which build `latest` means, since when, and why."""
    settings = load(recipes)
    store = store_of(settings)
    record = stored_builds.find_build(store, reference)
    installed = stored_builds.installed_packages(store, record) if packages else None
    latest = newest.read_if_valid(store, record.image)
    state = read_fleet(store, settings.fresh_within).of(record.image, record)
    if latest and latest.build != record.build:
        state = replace(state, freshness=None, waiting=())  # these are about the newest build
    output.one(record, latest, as_json, installed, state)


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


def listing(records: Sequence[Record], as_json: bool, states: Mapping[str, ImageState] | None = None) -> int:
    """The newest build of each image, and the exit status: 1 where the record of one cannot be read."""
    damaged = [record for record in records if record.status == "damaged"]
    known = [(states or {}).get(record.image) or ImageState(record.image, None, None) for record in records]
    images = [
        ListedImage(**dict(record), freshness=state.freshness, support=state.support, waiting=state.waiting)
        for record, state in zip(records, known, strict=True)
    ]
    if as_json:
        print_json([image.model_dump(mode="json") for image in images])
    else:
        _listing(images)
    for record in damaged:
        say(f"{record.image}: {record.reason}", err=True)
    return int(bool(damaged))


def _listing(records: Sequence[ListedImage]) -> None:
    """A table as wide as the terminal allows: names and builds are whole, digests get short, then columns are left out.

    Where that is no terminal, everything is shown. A column of what is known of no image is left out.
    """
    rows = [{title: cell(record) for title, cell in COLUMNS.items()} for record in records]
    known = [title for title in COLUMNS if title in ALWAYS or any(row[title] for row in rows)]
    width = terminal_width()
    for layout, digest in LAYOUTS:
        titles = [title for title in layout if title in known]
        shown = [{title: row[title][:digest] if title == DIGEST else row[title] for title in titles} for row in rows]
        words = ([title, *(word for row in shown for word in row[title].split(", "))] for title in titles)
        widths = [max(map(cell_len, each)) for each in words]  # several platforms may take several lines
        if width is None or sum(widths) + GAP * (len(widths) - 1) <= width:
            break
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=title in ("IMAGE", "BUILD"))
    for row in shown:
        table.add_row(*row.values())
    builder_output.show(table)
    if hidden := [title for title in known if title not in titles]:
        say(f"Too narrow for {', '.join(hidden)}: `baseforge list --json`", err=True)


def _unless_damaged(cell: Callable[[ListedImage], str], instead: str = "") -> Callable[[ListedImage], str]:
    return lambda record: instead if record.status == "damaged" else cell(record)


def _checked(image: ListedImage) -> str:
    if image.freshness is None:
        return ""
    age = "never" if image.freshness.age is None else f"{format_seconds(image.freshness.age)} ago"
    return f"{age}, stale" if image.freshness.stale else age


def _support(image: ListedImage) -> str:
    if image.support is None:
        return ""
    return f"{'ended' if image.support.days < 0 else 'until'} {image.support.until}"


def _waiting(image: ListedImage) -> str:
    secure = sum(each.security for each in image.waiting)
    count = str(len(image.waiting) or "")
    return f"{count} ({secure} security)" if secure else count


def stale_builds(store: Store, states: Iterable[ImageState]) -> list[Record]:
    """The newest builds of the stale images; a failed one for an image that was never built."""
    found = []
    for state in states:
        if state.freshness and state.stale:
            try:
                record = stored_builds.newest_build(store, state.image)
            except RecordDamaged as problem:
                record = Record(image=state.image, status="damaged", reason=f"{problem}", exit_status=problem.status)
            found.append(record or Record(image=state.image, status="failed", reason=state.freshness.reasons[0]))
    return found


DIGEST = "MANIFEST DIGEST"
ALWAYS = ("IMAGE", "BUILD", "PLATFORM", "PACKAGES", "SIZE", DIGEST)
COLUMNS: dict[str, Callable[[ListedImage], str]] = {
    "IMAGE": lambda record: record.image,
    "BUILD": lambda record: record.build,
    "PLATFORM": _unless_damaged(lambda record: ", ".join(record.platforms), "damaged"),
    "PACKAGES": _unless_damaged(lambda record: str(record.packages)),
    "SIZE": _unless_damaged(lambda record: format_size(record.size)),
    DIGEST: _unless_damaged(lambda record: record.manifest_digest),
    "CHECKED": _checked,
    "SUPPORT": _support,
    "WAITING": _waiting,
}
WHOLE, SHORT = len("sha256:") + 64, len("sha256:") + 12  # characters of a digest
GAP = 2  # blanks between columns
# What a terminal shows if it is wide enough, from the widest on: columns, and characters of a digest.
LAYOUTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (tuple(COLUMNS), WHOLE),
    (tuple(COLUMNS), SHORT),
    (("IMAGE", "BUILD", "PLATFORM", "SIZE", DIGEST, "CHECKED"), SHORT),
    (("IMAGE", "BUILD", "PLATFORM", "SIZE", "CHECKED"), SHORT),
    (("IMAGE", "BUILD", "PLATFORM", "SIZE"), SHORT),
    (("IMAGE", "BUILD", "PLATFORM"), SHORT),
    (("IMAGE", "BUILD"), SHORT),
)


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "log": log,
    "export": export,
    "latency": latency,
}
