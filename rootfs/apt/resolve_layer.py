"""Resolve the packages that a layer adds to those of its base image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian_inspector.debcon import get_paragraphs_data

from rootfs.apt.apt_get import (
    ResolvedPackage,
    Stages,
    package_locations,
    parse_answers,
    provides_name,
    simulate_apt,
    to_package,
)
from rootfs.apt.errors import PackageMissing, PackagesConflict
from rootfs.apt.pins import preferences
from rootfs.apt.release import SuiteState
from rootfs.apt.root import AptRoot
from rootfs.errors import BuildError, InputError
from rootfs.lock.lock import Package
from rootfs.network.addresses import canonical_address
from rootfs.recipe.base import AptRequest
from rootfs.recipe.sections import Repository

# One cache file for all base images of a set of sources: apt rewrites it for another base image.
CACHE = "over.bin"
REMOVED = re.compile(r"^The following packages will be REMOVED:\n((?:  .*\n)*)", re.MULTILINE)
NO_STAGES = Stages(set(), set())


@dataclass(frozen=True)
class BaseImagePackages:
    """The base image `parent` of the layer `image`: its manifest digest, and how to get its dpkg status file.

    `repositories` are the layer's own: only packages from them may replace packages of the base image.
    """

    image: str
    parent: str
    digest: str
    repositories: tuple[Repository, ...]
    status: Callable[[], Path]


def resolve_layer(
    root: AptRoot, recipe: AptRequest, states: Sequence[SuiteState], base_image: BaseImagePackages
) -> list[Package]:
    """The packages that a layer adds, by name. apt sees those of the base image as installed; none may be removed.

    Raises PackageMissing, PackagesConflict, BuildError, InputError.
    """
    status = base_image.status()
    installed, include = _installed(status, root.architectures[1:]), recipe.included(root.architecture)
    options = (
        *root.preferences(preferences(recipe, states)),
        f"-oAPT::Install-Recommends={'true' if recipe.recommends else 'false'}",
        f"-oDir::State::status={status}",
        f"-oDir::Cache::pkgcache={CACHE}",
    )
    excluded = [f"{name}-" for name in recipe.exclude if name not in installed]
    result = simulate_apt(root, recipe, ("install", *options, *include, *excluded))
    if lost := [name.rstrip("*") for block in REMOVED.findall(result.stdout) for name in block.split()]:
        raise InputError(
            f"{base_image.image}: its packages conflict with {', '.join(lost)} of its base image {base_image.parent}",
            hint="A layer adds packages: change `include`, or choose another base image.",
        )
    resolved_packages = list(parse_answers(root, result))
    _check_names(recipe, include, resolved_packages, installed)
    locations = package_locations(root, resolved_packages)
    packages = [to_package(resolved, NO_STAGES, locations, states) for resolved in resolved_packages]
    _check_replaced(base_image, packages, installed, root.architectures[1:])
    return sorted(packages, key=lambda package: (package.name, package.architecture))


def _installed(status: Path, foreign: Sequence[str]) -> dict[str, str]:
    """The installed packages and the names that they provide; the value is the version, empty for a provided name.

    Names of packages of `foreign` architectures have these after a colon.
    """
    paragraphs = get_paragraphs_data(status.read_text(errors="replace"))
    installed = [each for each in paragraphs if each.get("status", "").endswith(" installed")]
    ends = [f":{word}" if (word := each["architecture"]) in foreign else "" for each in installed]
    provided = (
        f"{name.split()[0]}{end}"
        for each, end in zip(installed, ends, strict=True)
        for name in each.get("provides", "").split(",")
        if name.strip()
    )
    names = (f"{each['package']}{end}" for each, end in zip(installed, ends, strict=True))
    return dict.fromkeys(provided, "") | {name: each["version"] for name, each in zip(names, installed, strict=True)}


def _check_names(
    recipe: AptRequest,
    include: Sequence[str],
    resolved_packages: Iterable[ResolvedPackage],
    installed: dict[str, str],
) -> None:
    """Check that each name in `include` is a package, and that no excluded package was added."""
    for name in include:
        if name not in installed and not any(provides_name(resolved, name) for resolved in resolved_packages):
            raise PackageMissing(name, recipe.suite, recipe.components)
    if unwanted := sorted(set(recipe.exclude) & {resolved.name for resolved in resolved_packages}):
        raise PackagesConflict(f"{', '.join(unwanted)}: excluded, but asked for as well")


def _check_replaced(
    base_image: BaseImagePackages, packages: Iterable[Package], installed: dict[str, str], foreign: Sequence[str]
) -> None:
    """Check that only the layer's own repositories replace packages of the base image."""
    own_suites = {(canonical_address(each.uri), suite) for each in base_image.repositories for suite in each.suites}
    changes = [
        f"{name} {installed[name]} -> {each.version}"
        for each in packages
        if installed.get(name := f"{each.name}:{each.architecture}" if each.architecture in foreign else each.name)
        and (canonical_address(each.archive), each.suite) not in own_suites
    ]
    if changes:
        image, parent = base_image.image, base_image.parent
        raise BuildError(
            f"{image}: its packages would replace some of its base image {parent}: {', '.join(changes)}",
            hint=f"Build {parent} again first (with a newer `lock` if it has one), or lock {image} as it is.",
        )
