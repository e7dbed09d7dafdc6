"""Note when images are checked, how old the archives' package lists are, and which fixes wait to be published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flows.inputs.resolve import ImageInputs, Inputs, resolve_platform
from flows.night.document import GOOD
from flows.publish import checks, documents, stored_builds
from flows.publish.checks import ArchiveState, Check, Checks, WaitingPackage, time_text
from flows.publish.record import Record, key_of
from flows.runtime.context import Context
from flows.store.store import Store
from rootfs.apt.sources import has_ended
from rootfs.apt.support import suite_of, support_of
from rootfs.errors import BaseforgeError
from rootfs.lock.lock import Release, is_newer
from rootfs.recipe.base import DistributionArchives, FurtherArchives, Recipe, pocket_suites
from rootfs.recipe.recipe import find_recipe, read_recipe, request_of
from rootfs.system.platforms import architecture_of
from rootfs.system.text import UNITS, parse_duration

QUIET = UNITS["w"]  # seconds that suites of updates may stay the same where they do not say how long they are valid


def look(ctx: Context, inputs: ImageInputs) -> None:
    """Keep in the context what the comparison of an image with the archives has found."""
    own = inputs.platforms[0]
    check = _of_recipe(ctx, inputs.recipe)
    suite = next((each.apt_request.suite for each in own.lineage if each.apt_request), "")
    archive = _oldest_lists(inputs.platforms, suite, check.within)
    ctx.checks[inputs.recipe.name] = check.model_copy(update={"suite": suite, "archive": archive})


def note_checks(ctx: Context, images: Iterable[str], *, whole_night: bool = False, within: int | None = None) -> Checks:
    """Note in the store which images were checked, as the context's results say, and which fixes wait for the others.

    `whole_night`: these are the images of all recipes. `within` replaces the longest time between their checks. That
    the store cannot be written is said, and no error: what was built is built.
    """
    names, news = list(images), {}
    for image in names:
        if check := _check(ctx, image, ctx.results[image]):
            news[image] = check if within is None else check.model_copy(update={"within": within})
    try:
        return checks.note(ctx.store, news, all_images=names if whole_night else ())
    except BaseforgeError as problem:
        ctx.progress.say(f"warning: it is not noted when images were checked: {problem}")
        return Checks()


def _check(ctx: Context, image: str, record: Record) -> Check | None:
    """What there is to note about an image; None if nothing was found out about it."""
    found = ctx.checks.get(image)
    if record.status in GOOD:
        known = {"checked": time_text(datetime.now(UTC)), "build": record.build}
        return found and found.model_copy(update={**known, "suite": _suite(ctx, found, record)})
    if record.status not in ("failed", "held", "paused"):
        return None
    with contextlib.suppress(BaseforgeError):
        recipe = read_recipe(find_recipe(image, *ctx.settings.recipes), image, ctx.settings.recipes)
        check = found or _of_recipe(ctx, recipe)
        before = stored_builds.latest_readable(ctx.store, image)
        if before is None:
            return check
        check = check.model_copy(update={"suite": _suite(ctx, check, before)})
        with contextlib.suppress(BaseforgeError):
            return check.model_copy(update={"build": before.build, "waiting": waiting_fixes(ctx, before)})
        return check
    return None


def _suite(ctx: Context, check: Check, record: Record) -> str:
    """The suite of an image: its packages', or what its tree calls itself, or that of its base images."""
    bases = (ctx.checks[base.image].suite for base in record.bases if base.image in ctx.checks)
    return check.suite or suite_of(record.own.distribution) or next(filter(None, bases), "")


def _of_recipe(ctx: Context, recipe: Recipe) -> Check:
    return Check(
        within=parse_duration(recipe.fresh_within or ctx.settings.fresh_within), support=_support(ctx, recipe) or ""
    )


def _support(ctx: Context, recipe: Recipe) -> str | None:
    """Which support an image relies on: as its recipe says, or those of its base images."""
    if recipe.support:
        return recipe.support
    folders = ctx.settings.recipes
    for name in (*([recipe.base_recipe] if recipe.base_recipe else []), *recipe.base_images):
        if found := _support(ctx, read_recipe(find_recipe(name, *folders), name, folders)):
            return found
    return None


def _oldest_lists(platforms: Iterable[Inputs], suite: str, within: int) -> ArchiveState | None:
    """The state of the suite whose package lists are nearest to being too old, or past that.

    None for an image whose recipe names its packages or a moment, and if no suite says how often it changes.
    """
    now = datetime.now(UTC).timestamp()
    found = []
    for each in platforms:
        if not any(_is_fixed(recipe) for recipe in each.lineage):
            found += [(limit, one) for one in each.newest.releases if (limit := _longest_age(one, suite, within))]
    if not found:
        return None
    limit, oldest = max(found, key=lambda pair: (now - pair[1].date) / pair[0])
    return ArchiveState(
        suite=oldest.suite,
        address=oldest.address,
        date=_text(oldest.date),
        valid_until=_text(oldest.valid_until) if oldest.valid_until else "",
        late=now - oldest.date > limit,
    )


def _is_fixed(recipe: Recipe) -> bool:
    """Whether a recipe says which packages to use, or of which moment."""
    snapshot = recipe.snapshot if isinstance(recipe, DistributionArchives) else None
    return bool(snapshot or (isinstance(recipe, FurtherArchives) and recipe.lock))


def _longest_age(release: Release, suite: str, within: int) -> float | None:
    """How many seconds old the lists of a suite may be; None where their age says nothing.

    A stable suite changes at its point releases only, and so may any further archive. Lists that say how long they are
    valid are made anew long before that. Those of updates change every day, but not after the end of support.
    """
    if has_ended(release.address):
        return None
    if release.valid_until:
        return max(within, (release.valid_until - release.date) / 2)
    known = support_of(suite)
    supported = known is not None and datetime.now(UTC).date() <= known.ends["full"]
    return max(within, QUIET) if supported and release.suite in pocket_suites(suite, ("updates", "security")) else None


def _text(seconds: float) -> str:
    return time_text(datetime.fromtimestamp(seconds, UTC))


@dataclass(frozen=True)
class _Newer:
    """A version of a package that an image does not have, and whether it fixes a security problem."""

    version: str
    security: bool


def waiting_fixes(ctx: Context, build: Record) -> tuple[WaitingPackage, ...]:
    """The packages of a published build with newer versions in the package lists that this machine has.

    No archive is asked. Several platforms have the same fixes: the build's own platform is looked at. Raises what
    resolving raises, and what the store raises.
    """
    part = build.own
    installed = _installed(ctx.store, part)
    newer: dict[str, _Newer] = {}
    for each in _lineage_inputs(ctx, build.image, architecture_of(part.platforms[0])):
        newer |= _newer(ctx, each, installed)
    now = time_text(datetime.now(UTC))
    return tuple(
        WaitingPackage(name=name, old=installed[name], new=each.version, since=now, security=each.security)
        for name, each in sorted(newer.items())
    )


def _installed(store: Store, part: Record) -> dict[str, str]:
    """The versions of an image's packages by name; an image without a list of them has those that it was made of."""
    [packages] = stored_builds.installed_packages(store, part).values()
    if packages:
        return {name.partition(":")[0]: version for name, version in packages.items()}
    installed: dict[str, str] = {}
    for base in part.base_builds:
        if record := documents.read(store, key_of(base.image, base.build), Record):
            installed |= _installed(store, record.of(part.platforms[0]) or record.own)
    return installed | {package.name: package.version for package in part.lock.packages}


def _lineage_inputs(ctx: Context, image: str, architecture: str) -> Iterator[Inputs]:
    """What an image and its base images resolve to now; base images first."""
    folders = ctx.settings.recipes
    file = find_recipe(image, *folders)
    recipe = read_recipe(file, image, folders)
    for base in (*([recipe.base_recipe] if recipe.base_recipe else []), *recipe.base_images):
        yield from _lineage_inputs(ctx, base, architecture)
    # Base images that failed have builds nevertheless.
    yield resolve_platform(replace(ctx, results={}), recipe, file, architecture, offline=True)


def _newer(ctx: Context, inputs: Inputs, installed: Mapping[str, str]) -> dict[str, _Newer]:
    found = {
        package.name: package.version
        for package in inputs.newest.packages
        if package.name in installed and is_newer(package.version, installed[package.name])
    }
    request = request_of(inputs.lineage, inputs.file, inputs.folders)
    if not found or request is None or any(_is_fixed(recipe) for recipe in inputs.lineage):
        return {name: _Newer(version, security=False) for name, version in found.items()}
    old = {name: installed[name] for name in found}
    secure = ctx.apt(offline=True).security_fixes(*request, inputs.architecture, old)
    return {name: _Newer(version, name in secure) for name, version in found.items()}
