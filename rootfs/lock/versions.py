"""Environment variables of an image that have the version of one of its packages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rootfs.errors import InputError
from rootfs.lock.lock import Package
from rootfs.recipe.sections import ImageSettings


def upstream_version(version: str) -> str:
    """The version of the packaged program, such as 21.0.9 for 1:21.0.9+10-1~deb13u1 (Debian Policy 5.6.12)."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]


def with_versions(settings: ImageSettings, packages: Iterable[Package]) -> ImageSettings:
    """The settings with `versions` among the variables in `env`.

    Raises InputError for a package that is not among `packages`.
    """
    if not settings.versions:
        return settings
    known = {package.name: upstream_version(package.version) for package in packages}
    if missing := sorted(set(settings.versions.values()) - known.keys()):
        raise InputError(
            f"'versions' in 'image' names {missing[0]}, which is not among the recipe's packages",
            hint="Name a package that the recipe installs; `baseforge lock IMAGE` lists them.",
        )
    env = settings.env | {name: known[package] for name, package in settings.versions.items()}
    return settings.model_copy(update={"env": env, "versions": {}})
