"""apt resolves for a layer: what is to come beside the packages that its parent's image has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian_inspector.debcon import get_paragraphs_data

from rootfs.apt.errors import PackageMissing, PackagesConflict
from rootfs.apt.preferences import preferences
from rootfs.apt.release import SuiteState
from rootfs.apt.resolve import (
    ResolvedPackage,
    Stages,
    package_locations,
    parse_answers,
    provides_name,
    simulate_apt,
    to_package,
)
from rootfs.apt.root import AptRoot
from rootfs.errors import BuildError, InputError
from rootfs.lock.lock import Package
from rootfs.recipe.base import Origin
from rootfs.recipe.sections import Repository

# One for all parents of a set of sources: apt makes it anew, at once, where it is another parent's.
CACHE = "over.bin"
REMOVED = re.compile(r"^The following packages will be REMOVED:\n((?:  .*\n)*)", re.MULTILINE)
NO_STAGES = Stages(set(), set())


@dataclass(frozen=True)
class BaseImagePackages:
    """What the layer of `image` comes to: `digest` is the parent's manifest's, `status` gives dpkg's file in there.

    `repositories` are the layer's own: only they may bring another version of what is there.
    """

    image: str
    parent: str
    digest: str
    repositories: tuple[Repository, ...]
    status: Callable[[], Path]


def resolve_layer(
    root: AptRoot, recipe: Origin, states: Sequence[SuiteState], below: BaseImagePackages
) -> list[Package]:
    """The packages that a layer adds, by name: apt finds all of its parent's installed, and none may go.

    Raises PackageMissing, PackagesConflict, BuildError, InputError.
    """
    status = below.status()
    there = _installed(status)
    options = (
        *root.preferences(preferences(recipe, states)),
        f"-oAPT::Install-Recommends={'true' if recipe.recommends else 'false'}",
        f"-oDir::State::status={status}",
        f"-oDir::Cache::pkgcache={CACHE}",
    )
    excluded = [f"{name}-" for name in recipe.exclude if name not in there]
    done = simulate_apt(root, recipe, ("install", *options, *recipe.include, *excluded))
    if lost := [name.rstrip("*") for block in REMOVED.findall(done.stdout) for name in block.split()]:
        raise InputError(
            f"{below.image}: its packages conflict with {', '.join(lost)} of its base image {below.parent}",
            hint="A layer adds packages: change `include`, or choose another base image.",
        )
    answers = list(parse_answers(root, done))
    _check(recipe, answers, there)
    places = package_locations(root, answers)
    packages = [to_package(answer, NO_STAGES, places, states) for answer in answers]
    _check_parent(below, packages, there)
    return sorted(packages, key=lambda package: (package.name, package.architecture))


def _installed(status: Path) -> dict[str, str]:
    """The installed packages and what they provide, with the version of each package, by name."""
    paragraphs = get_paragraphs_data(status.read_text(errors="replace"))
    there = [each for each in paragraphs if each.get("status", "").endswith(" installed")]
    provided = (name.split()[0] for each in there for name in each.get("provides", "").split(",") if name.strip())
    return dict.fromkeys(provided, "") | {each["package"]: each["version"] for each in there}


def _check(recipe: Origin, answers: Iterable[ResolvedPackage], there: dict[str, str]) -> None:
    """See that each name has brought what it means; apt would take one it does not know for a pattern or an order."""
    for name in recipe.include:
        if name not in there and not any(provides_name(answer, name) for answer in answers):
            raise PackageMissing(name, recipe.suite, recipe.components)
    if unwanted := sorted(set(recipe.exclude) & {answer.name for answer in answers}):
        raise PackagesConflict(f"{', '.join(unwanted)}: excluded, but asked for as well")


def _check_parent(below: BaseImagePackages, packages: Iterable[Package], there: dict[str, str]) -> None:
    """See that only the layer's own archives replace a package of the parent's."""
    own = {(each.uri.rstrip("/"), suite) for each in below.repositories for suite in each.suites}
    behind = [each for each in packages if there.get(each.name) and (each.archive, each.suite) not in own]
    if behind:
        changes = [f"{each.name} {there[each.name]} -> {each.version}" for each in behind]
        raise BuildError(
            f"{below.image}: its packages would replace some of its base image {below.parent}: {', '.join(changes)}",
            hint=(
                f"Build {below.parent} again first (with a newer `lock` if it has one), or lock {below.image} as it is."
            ),
        )
