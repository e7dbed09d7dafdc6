"""Check, before a build begins, that what a recipe says can work with its packages and with its own filters."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from rootfs.errors import RecipeInvalid
from rootfs.network.certificates import read_certificates
from rootfs.recipe import yaml
from rootfs.recipe.base import ImageContents, Recipe
from rootfs.recipe.recipe import files_folder
from rootfs.recipe.sections import Key
from rootfs.recipe.types import BUILT_IN_LOCALES, BUILT_IN_ZONES
from rootfs.system.text import format_time
from rootfs.time_zones import modern_name
from rootfs.tree.filters import Rules

# What the installer reads to make a locale, and where the result is.
LOCALE_FILES = ("usr/share/i18n/SUPPORTED", "usr/lib/locale/locale-archive")


def check_requirements(
    lineage: Sequence[Recipe], packages: Callable[[], Collection[str]], file: Path, *, legacy_apart: bool = False
) -> None:
    """Check the last recipe of a lineage, which `file` is. `packages` returns the names of all packages of its image.

    `legacy_apart`: the suite has legacy names of time zones in a package of their own.
    Raises RecipeInvalid with the place of each key that cannot work.
    """
    found = [
        *_lacking(lineage[-1], packages, legacy_apart=legacy_apart),
        *_left_out(lineage),
        *_expired(lineage[-1], file),
    ]
    if found:
        document = yaml.load_yaml(file)
        raise RecipeInvalid([(document.place(key), why) for key, why in found])


def _lacking(
    recipe: Recipe, packages: Callable[[], Collection[str]], *, legacy_apart: bool
) -> Iterator[tuple[Key, str]]:
    """Keys that need a package which the image does not have."""
    for need in recipe.needs:
        if not any(name in packages() for name in need.packages):
            names = " or ".join(f"`{name}`" for name in need.packages)
            yield need.key, f"{need.what} needs the package {names}: add it to `include`"
        elif legacy_apart and need.key == ("timezone",) and isinstance(recipe, ImageContents):
            yield from _legacy_zone(str(recipe.timezone), packages())


def _legacy_zone(name: str, packages: Collection[str]) -> Iterator[tuple[Key, str]]:
    if (other := modern_name(name)) and "tzdata-legacy" not in packages:
        needs = f"time zone {name!r} needs the package `tzdata-legacy`"
        yield ("timezone",), f"{needs}: add it to `include`, or write {other!r}, which is the same"


def _expired(recipe: Recipe, file: Path) -> Iterator[tuple[Key, str]]:
    """Certificates that nobody trusts any more. An old build is verified all the same: only a new one asks."""
    for index, name in enumerate(recipe.certificates):
        for each in read_certificates(files_folder(file), [name]):
            if each.end < time.time():
                yield (
                    ("certificates", index),
                    f"{name}: the certificate of {each.subject} expired {format_time(each.end)}",
                )


def _left_out(lineage: Sequence[Recipe]) -> Iterator[tuple[Key, str]]:
    """Keys whose files `slim` or `paths`, its own or those of base images, leave out of the image."""
    recipe, rules = lineage[-1], Rules.of(*(each.filters for each in lineage))
    for index, path in enumerate(recipe.added_files):
        if not rules.keeps(path.lstrip("/")):
            yield ("files", index, "path"), f"`slim` or `paths` leaves {path} out: name it in `paths: {{include: […]}}`"
    if not isinstance(recipe, ImageContents) or not rules.steps:
        return
    zone = f"usr/share/zoneinfo/{recipe.timezone}"
    if recipe.timezone and recipe.timezone not in BUILT_IN_ZONES and not rules.keeps(zone):
        yield ("timezone",), f"`paths` leaves /{zone} out: name it in `paths: {{include: […]}}`"
    if recipe.locale and recipe.locale not in BUILT_IN_LOCALES:
        for path in LOCALE_FILES:
            if not rules.keeps(path):
                yield ("locale",), f"`paths` leaves /{path} out: name it in `paths: {{include: […]}}`"
