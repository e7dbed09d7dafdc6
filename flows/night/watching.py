"""What has changed in the archives since they were last looked at, and which images have to be built because of it.

Only Release files are asked for, and an unchanged one is not sent again. If one has changed, the images that take
packages from that suite are resolved, and those whose locks have changed are built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import Field

from flows.config.options import BuildOptions
from flows.inputs.resolve import architectures, resolve_platform
from flows.publish import documents, stored_builds
from flows.publish.record import FORMAT, Format, Frozen, StoreName
from flows.runtime.context import Context
from flows.store.store import Store
from rootfs.errors import BaseforgeError
from rootfs.recipe.base_images import base_images_by_image
from rootfs.recipe.recipe import find_recipe, image_names, lineage_of, read_recipe, request_of
from rootfs.system.digests import canonical_digest, canonical_json

KEY = "nights/watch.json"


class Watched(Frozen):
    """The document `nights/watch.json`: what was found when an archive had last changed, and what was done about it.

    `suites` has the sha256 of each suite's Release file, `tried` a digest of what each image was built of.
    """

    format: Format = FORMAT
    at: str = ""
    suites: dict[str, str] = Field(default_factory=dict)
    tried: dict[StoreName, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """The state of each suite, the suites that each image takes packages from, and what could not be looked at."""

    suites: Mapping[str, str]
    images: Mapping[str, frozenset[str]]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class Changes:
    """The images to build, base images first and with all that build on them, and what to remember of it."""

    images: tuple[str, ...]
    after: Watched
    problems: Mapping[str, str]


def read_watched(store: Store) -> Watched:
    """What was found the last time; nothing if that was never or cannot be read. Raises RecordNewer."""
    return documents.parse_if_valid(store, KEY, store.read_document(KEY), Watched) or Watched()


def keep_watched(store: Store, after: Watched) -> None:
    """Remember what was found. If another process does so at this moment, that counts."""
    data = canonical_json(after.model_dump(mode="json")) + b"\n"
    documents.write(store, KEY, data, store.read_document(KEY))


def look(ctx: Context) -> Look:
    """Ask the archives of all recipes for the state of their suites. A recipe with a mistake is left to the night.

    Raises ArchiveUnreachable and others of archives only if no image could be looked at.
    """
    suites, images, problems = dict[str, str](), dict[str, frozenset[str]](), dict[str, str]()
    failure: BaseforgeError | None = None
    for image in image_names(*ctx.settings.recipes):
        try:
            found = dict(_suites(ctx, image))
        except BaseforgeError as error:
            failure, problems[image] = error, error.message
            continue
        suites |= found
        if found:
            images[image] = frozenset(found)
    if failure and not images:
        raise failure
    return Look(suites, images, problems)


def find_changes(ctx: Context, seen: Look, before: Watched) -> Changes:
    """The images whose locks have changed since their newest builds, among those whose suites have.

    An image is tried once for the same packages; after that it is the night's. One that was never built is too.
    """
    changed = {suite for suite, state in seen.suites.items() if before.suites.get(suite) != state}
    problems, tried = dict(seen.problems), dict(before.tried)
    unknown = set[str]()
    wanted = list[str]()
    for image, suites in seen.images.items():
        if not suites & changed:
            continue
        try:
            packages = _changed_packages(ctx, image)
        except BaseforgeError as error:  # the next look tries again
            problems[image] = error.message
            unknown |= suites & changed
            continue
        if packages and tried.get(image) != packages:
            wanted.append(image)
            tried[image] = packages
    known = {suite: state for suite, state in seen.suites.items() if suite not in unknown}
    kept = {suite: state for suite, state in before.suites.items() if suite in unknown or problems}
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    after = Watched(at=now, suites={**kept, **known}, tried=tried)
    return Changes(tuple(_with_children(ctx, wanted)), after, problems)


def _suites(ctx: Context, image: str) -> Iterator[tuple[str, str]]:
    """The suites that an image takes packages from, with their states; none if its packages are fixed."""
    file, folders = find_recipe(image, *ctx.settings.recipes), ctx.settings.recipes
    recipe = read_recipe(file, image, folders)
    request = request_of(lineage_of(recipe, file, folders), file, folders) if recipe.adds_packages else None
    if request is None or request[0].lock is not None or request[0].snapshot is not None:
        return
    for architecture in architectures(recipe, BuildOptions()):
        yield from ctx.apt(offline=False).suite_states(*request, architecture).items()


def _changed_packages(ctx: Context, image: str) -> str:
    """A digest of the packages and the recipe of an image, if its packages are not those of its newest build.

    It is empty if they are, or if there is no build.
    """
    if (newest := stored_builds.latest_readable(ctx.store, image)) is None:
        return ""
    file = find_recipe(image, *ctx.settings.recipes)
    recipe = read_recipe(file, image, ctx.settings.recipes)
    inputs = tuple(resolve_platform(ctx, recipe, file, each) for each in architectures(recipe, BuildOptions()))
    for each in inputs:
        part = newest.of(each.platform)
        if part is None or part.lock.packages != each.lock.packages:
            # Not the input digest: it has the dates of Release files, which archives sign anew.
            return canonical_digest(
                [[each.recipe_digest, [deb.sha256 for deb in each.lock.packages]] for each in inputs]
            )
    return ""


def _with_children(ctx: Context, images: Iterable[str]) -> Iterator[str]:
    """The images and all that build on them, base images first. What was never built is left to the night."""
    folders, found = ctx.settings.recipes, set(images)
    for image, bases in base_images_by_image(image_names(*folders) if found else (), *folders).items():
        if image in found or (found & set(bases) and stored_builds.latest_readable(ctx.store, image)):
            found.add(image)
            yield image
