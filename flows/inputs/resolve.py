"""Everything that decides an image's bytes, gathered before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.config.options import Choice
from flows.inputs import base_images, parents
from flows.publish import records
from flows.publish.record import ParentBuild, Record
from flows.runtime.context import current
from rootfs.errors import BaseforgeError
from rootfs.lock.lock import Lock, input_digest, tool_versions
from rootfs.packages import tarball_source
from rootfs.process.host import native_architecture
from rootfs.recipe.base import Recipe
from rootfs.recipe.recipe import digest, find, folder_of, lineage_of, read, request_of
from rootfs.system.digests import canonical_digest
from rootfs.system.platforms import architecture_of, platform_name


@dataclass(frozen=True)
class Inputs:
    """A recipe, what it means today, and the one digest of it all.

    `file` is the recipe's own, `newest` what the archive has, and `lock` what is built: an earlier one where that has
    the same packages. `lineage` are the recipe and those that its image is layered on, itself the last; a layer's
    `parent` is the build that it is laid on, a Dockerfile's `bases` are those that its contexts mean.
    """

    recipe: Recipe
    file: Path
    architecture: str
    newest: Lock
    lock: Lock
    tools: dict[str, str]
    recipe_digest: str
    lineage: tuple[Recipe, ...]
    parent: ParentBuild | None = None
    bases: tuple[ParentBuild, ...] = ()

    @property
    def files(self) -> Path:
        """The folder of the files that the recipe names."""
        return folder_of(self.file)

    @property
    def archive(self) -> Path | None:
        """The tarball among them, which the store keeps by itself."""
        return self.files / self.recipe.tarball.source if self.recipe.tarball else None

    @property
    def sources_list(self) -> str:
        """The image's own apt sources: the archives themselves, wherever the packages were fetched from."""
        return self.recipe.sources_list((release.address, release.suite) for release in self.lock.releases)

    @property
    def digest(self) -> str:
        """The input digest: the same means the same image."""
        parent = self.parent.manifest_digest if self.parent else ""
        named = {base.image: base.manifest_digest for base in self.bases}
        return input_digest(self.recipe_digest, self.lock, self.architecture, self.tools, parent, named)

    @property
    def platform(self) -> str:
        """As registries write it."""
        return platform_name(self.architecture)


@dataclass(frozen=True)
class Meant:
    """What an image means today: the inputs of its parts, one for each platform."""

    parts: tuple[Inputs, ...]

    @property
    def recipe(self) -> Recipe:
        """All parts are of one recipe."""
        return self.parts[0].recipe

    @property
    def digest(self) -> str:
        """The input digest of an image for one platform; of one for several, a digest of theirs."""
        by_platform = {each.platform: each.digest for each in self.parts}
        return canonical_digest(by_platform) if len(self.parts) > 1 else self.parts[0].digest


def meant(image: str, choice: Choice) -> Meant:
    """What an image's recipe means today. Raises what reading and resolving it raise."""
    file = find(image, current().settings.recipes)
    recipe = chosen_engine(read(file, image), choice)
    return Meant(tuple(gather(recipe, file, each, offline=choice.offline) for each in architectures(recipe, choice)))


def architectures(recipe: Recipe, choice: Choice) -> list[str]:
    """What an image is built for, as Debian has it. Raises UnknownPlatform."""
    own = platform_name(native_architecture())
    return [architecture_of(each) for each in choice.platforms_of(recipe.name, recipe.platforms, own)]


def chosen_engine(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe with the program that a person chose to make its tree. Raises InputError."""
    return recipe.with_bootstrapper(choice.engine) if choice.engine else recipe


def built(wanted: Meant) -> Record | None:
    """The build with the same inputs, if the store has one."""
    record = records.known(current().store, wanted.digest)
    return record if record and record.image == wanted.recipe.name else None


def packages_with(wanted: Inputs, names: set[str], *, offline: bool) -> dict[str, str]:
    """The package that has a file of each of these names, as far as the image's archives can tell."""
    if (asked := request_of(wanted.lineage, wanted.file)) is None:
        return {}
    try:
        return current().apt(offline=offline).packages_with(*asked, wanted.architecture, names)
    except BaseforgeError:  # which would hide what it was asked for
        return {}


def gather(recipe: Recipe, file: Path, architecture: str, *, offline: bool = False) -> Inputs:
    """Resolve a recipe: asks the archive for the state of its suites, once a session, and never when `offline`."""
    platform = platform_name(architecture)
    parent = parents.build_below(recipe.name, recipe.base_recipe, platform) if recipe.base_recipe else None
    lineage = lineage_of(recipe, file)
    asked = request_of(lineage, file) if recipe.adds_packages else None
    newest = Lock()
    if asked:
        below = parents.below(recipe, parent) if parent else None
        newest = current().apt(offline=offline).lock(*asked, architecture, below, without_dependencies=recipe.alone)
    elif recipe.tarball:
        newest = Lock(tarball=tarball_source.archive_digest(recipe.tarball, folder_of(file)))
    return Inputs(
        recipe=recipe,
        file=file,
        architecture=architecture,
        newest=newest,
        lock=newest if not asked or asked[0].lock else settled(newest, recipe.name, platform),
        tools=tool_versions(recipe),
        recipe_digest=digest(recipe, folder_of(file)),
        lineage=lineage,
        parent=parent,
        bases=base_images.newest(recipe, platform),
    )


def settled(lock: Lock, image: str, platform: str) -> Lock:
    """The lock of the image's newest build for a platform where it has the same packages, else this one.

    Archives sign their indexes anew every few hours; an image whose packages are the same is the same image.
    """
    newest = records.latest(current().store, image)
    last = newest and newest.of(platform)
    if last is None or last.lock.packages != lock.packages or _suites(last.lock) != _suites(lock):
        return lock
    return last.lock


def _suites(lock: Lock) -> set[tuple[str, str]]:
    return {(release.address, release.suite) for release in lock.releases}
