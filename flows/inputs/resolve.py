"""The inputs of an image: everything that decides its bytes, gathered before anything is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.config.options import BuildOptions
from flows.inputs.base_images import base_build, installed_in, package_names
from flows.publish import stored_builds
from flows.publish.record import BaseImageBuild
from flows.runtime.context import BuildContext, Context
from rootfs.apt.errors import PinUnused, SuiteError
from rootfs.apt.sources import has_legacy_zones_apart
from rootfs.apt.support import check_support
from rootfs.errors import BaseforgeError, RecipeValue
from rootfs.lock.lock import Lock, input_digest, tool_versions
from rootfs.lock.requirements import check_requirements
from rootfs.lock.versions import with_versions
from rootfs.packages import tarball_source
from rootfs.process.host import native_architecture
from rootfs.recipe.base import Recipe, foreign_architectures
from rootfs.recipe.recipe import (
    all_recipes_of,
    digest_recipe,
    files_folder,
    find_recipe,
    lineage_of,
    place_of_pin,
    place_of_value,
    read_recipe,
    repository_place,
    request_of,
)
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import canonical_digest
from rootfs.system.platforms import architecture_of, platform_name


@dataclass(frozen=True)
class Inputs:
    """The inputs of an image for one platform, and the one digest of them all.

    `file` is the recipe's own, `newest` what the archive has, and `lock` what is built: an earlier one where that has
    the same packages. `lineage` are the recipes of the base images, the lowest first, and the recipe itself, the last.
    `base` is the build that a layer is laid on, `bases` are those that a Dockerfile is built from.
    """

    recipe: Recipe
    file: Path
    architecture: str
    newest: Lock
    lock: Lock
    tools: dict[str, str]
    recipe_digest: str
    lineage: tuple[Recipe, ...]
    folders: tuple[Path, ...] = ()
    base: BaseImageBuild | None = None
    bases: tuple[BaseImageBuild, ...] = ()

    @property
    def files(self) -> Path:
        """The folder of the files that the recipe names."""
        return files_folder(self.file)

    @property
    def all_recipes(self) -> tuple[Recipe, ...]:
        """The recipes of all base images, also of a Dockerfile's, and its own. Raises RecipeInvalid, InputError."""
        return all_recipes_of(self.recipe, self.file, self.folders)

    @property
    def archive(self) -> Path | None:
        """The tarball among the recipe's files, which the store keeps by itself."""
        return self.files / self.recipe.tarball.source if self.recipe.tarball else None

    @property
    def foreign(self) -> tuple[str, ...]:
        """The foreign architectures whose packages the image may have."""
        return foreign_architectures(self.lineage, self.architecture)

    @property
    def container_settings(self) -> ImageSettings:
        """What a container starts with. Raises InputError for a version of a package that the lock lacks."""
        return with_versions(self.recipe.container_settings, self.lock.packages)

    @property
    def digest(self) -> str:
        """The input digest: equal digests mean equal images."""
        base = self.base.manifest_digest if self.base else ""
        named = {each.image: each.manifest_digest for each in self.bases}
        return input_digest(self.recipe_digest, self.lock, self.architecture, self.tools, base, named)

    @property
    def platform(self) -> str:
        """The platform as registries write it, such as linux/amd64."""
        return platform_name(self.architecture)

    @property
    def label(self) -> str:
        """What the titles of steps say: the image and its architecture."""
        return f"{self.recipe.name}/{self.architecture}"


@dataclass(frozen=True)
class ImageInputs:
    """The inputs of an image for each of its platforms."""

    platforms: tuple[Inputs, ...]

    @property
    def recipe(self) -> Recipe:
        """The one recipe of all platforms."""
        return self.platforms[0].recipe

    @property
    def digest(self) -> str:
        """The input digest of the only platform, or the digest of the input digests of all platforms."""
        by_platform = {each.platform: each.digest for each in self.platforms}
        return canonical_digest(by_platform) if len(self.platforms) > 1 else self.platforms[0].digest


def resolve_image(ctx: BuildContext) -> ImageInputs:
    """Read the image's recipe and resolve it for each platform. Raises what reading and resolving it raise."""
    file, options = find_recipe(ctx.image, *ctx.settings.recipes), ctx.options
    recipe = with_bootstrapper(read_recipe(file, ctx.image, ctx.settings.recipes), options)
    platforms = architectures(recipe, options)
    return ImageInputs(tuple(resolve_platform(ctx, recipe, file, each, offline=options.offline) for each in platforms))


def architectures(recipe: Recipe, options: BuildOptions) -> list[str]:
    """The architectures that an image is built for, as Debian names them. Raises UnknownPlatform."""
    own = platform_name(native_architecture())
    return [architecture_of(each) for each in options.platforms_of(recipe.name, recipe.platforms, own)]


def with_bootstrapper(recipe: Recipe, options: BuildOptions) -> Recipe:
    """The recipe with the bootstrapper that the options name. Raises InputError."""
    return recipe.with_bootstrapper(options.engine) if options.engine else recipe


def packages_with(ctx: BuildContext, inputs: Inputs, names: set[str]) -> dict[str, str]:
    """The package that has a file of each of these names, as far as the image's archives can tell."""
    if (request := request_of(inputs.lineage, inputs.file, inputs.folders)) is None:
        return {}
    try:
        return ctx.apt(offline=ctx.options.offline).packages_with(*request, inputs.architecture, names)
    except BaseforgeError:  # which would hide what it was asked for
        return {}


def resolve_platform(ctx: Context, recipe: Recipe, file: Path, architecture: str, *, offline: bool = False) -> Inputs:
    """Resolve a recipe for a platform: asks the archive for the state of its suites, once a command."""
    folders = ctx.settings.recipes
    lineage = lineage_of(recipe, file, folders)
    with recipe_places(lineage, folders):
        return _resolve(ctx, lineage, file, architecture, offline=offline)


def _resolve(ctx: Context, lineage: tuple[Recipe, ...], file: Path, architecture: str, *, offline: bool) -> Inputs:
    platform, folders, recipe = platform_name(architecture), ctx.settings.recipes, lineage[-1]
    base = base_build(ctx, recipe.name, recipe.base_recipe, platform) if recipe.base_recipe else None
    request = request_of(lineage, file, folders) if recipe.adds_packages else None
    newest = Lock()
    if origin := lineage[0].apt_request:
        check_support(recipe.support, origin.suite)
    if request:
        installed = installed_in(ctx, recipe, base) if base else None
        newest = ctx.apt(offline=offline).lock(
            *request,
            architecture,
            installed,
            without_dependencies=recipe.standalone,
            optional=recipe.optional_packages,
        )
    elif recipe.tarball:
        newest = Lock(tarball=tarball_source.archive_digest(recipe.tarball, files_folder(file)))
    legacy_apart = request is not None and has_legacy_zones_apart(request[0].suite)
    check_requirements(lineage, partial(package_names, ctx, newest, base), file, legacy_apart=legacy_apart)
    with_versions(recipe.container_settings, newest.packages)  # raises before anything is made
    return Inputs(
        recipe=recipe,
        file=file,
        architecture=architecture,
        newest=newest,
        lock=newest if not request or request[0].lock else settled(ctx, newest, recipe.name, platform),
        tools=tool_versions(recipe, ctx.settings.toolchains),
        recipe_digest=digest_recipe(recipe, files_folder(file)),
        lineage=lineage,
        folders=folders,
        base=base,
        bases=tuple(base_build(ctx, recipe.name, base_name, platform) for base_name in recipe.base_images),
    )


@contextlib.contextmanager
def recipe_places(lineage: Sequence[Recipe], folders: Sequence[Path]) -> Iterator[None]:
    """Give an error about a pin, a suite of a further archive, or any value of a recipe its place in the recipe."""
    try:
        yield
    except PinUnused as error:
        error.where = place_of_pin(lineage, folders, error.index) or error.where
        raise
    except BaseforgeError as error:
        error.where = _place_of(error, lineage, folders) or error.where
        raise


def _place_of(error: BaseforgeError, lineage: Sequence[Recipe], folders: Sequence[Path]) -> str:
    if isinstance(error, SuiteError) and (
        place := repository_place(lineage, folders, error.archive, error.suite, error.key)
    ):
        return place
    values = [error.about] if error.about else []
    if isinstance(error, SuiteError) and (request := lineage[0].apt_request):  # else it is of a pocket of this suite
        values.append(RecipeValue(request.suite, ("suite",)))
    return next(filter(None, (place_of_value(lineage, folders, value) for value in values)), "")


def settled(ctx: Context, lock: Lock, image: str, platform: str) -> Lock:
    """The lock of the image's newest build for a platform where it has the same packages, else this one.

    Archives sign their indexes anew every few hours; an image whose packages are the same is the same image.
    """
    newest = stored_builds.latest_readable(ctx.store, image)
    last = newest and newest.of(platform)
    if last is None or last.lock.packages != lock.packages or _suites(last.lock) != _suites(lock):
        return lock
    return last.lock


def _suites(lock: Lock) -> set[tuple[str, str]]:
    return {(release.address, release.suite) for release in lock.releases}
