"""The base class of all recipes, and the groups of keys that several kinds have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rootfs.recipe import types
from rootfs.recipe.builder import NamedOrPlanned
from rootfs.recipe.sections import (
    AllowedKey,
    Files,
    Group,
    ImageSettings,
    Key,
    MaybeRepeatable,
    PackageSelection,
    Part,
    PathRules,
    Pin,
    Repository,
    SmokeCheck,
    TarballKeys,
    User,
    account_contradictions,
    path_contradictions,
)

SLIM = "files to leave out: documentation (copyright files stay), manual pages, translations"
Slim = Annotated[tuple[Literal["docs", "man", "locales"], ...], *types.Distinct]


@dataclass(frozen=True)
class Filters:
    """Which files an image leaves out: lists of `rootfs/tree/filter_lists/` by name, then further patterns."""

    lists: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """A key of a recipe that only works with one of some packages in the image."""

    key: Key
    what: str
    packages: tuple[str, ...]


class Recipe(Part):
    """What every image has, whatever its kind.

    A kind of recipe is a subclass with further keys. It overrides the members of this class whose defaults are wrong
    for it, and is registered in `rootfs/recipe/kinds.py`.
    """

    # Whether all files of the recipe's folder count in its digest, not only if it names some.
    digests_whole_folder: ClassVar[bool] = False
    # Keys that name other recipes as base images: one as a text, or several as a mapping.
    base_image_keys: ClassVar[tuple[str, ...]] = ()
    # Whether an image of this kind can be what a layer is made on: it has a package manager.
    takes_layers: ClassVar[bool] = False
    # Whether its bootstrapper makes the tree trust `certificates`; else they are added to the finished tree's bundle.
    installs_certificates: ClassVar[bool] = True
    # Why programs of the image run while it is built, which needs an emulator for other architectures.
    runs_programs: ClassVar[str] = ""

    name: types.Name = Field(description="the image's name: the file's name without .yaml")
    kind: str = Field(description="what the image is made of")
    description: str = Field(default="", description="what the image is for, in a sentence; not part of the digest")
    image: ImageSettings = Field(default_factory=ImageSettings, description="how a container of the image starts")
    smoke: tuple[SmokeCheck, ...] = Field(
        default=(), description="commands that must succeed before the image is published"
    )
    unlinked: Annotated[tuple[types.PathGlob, ...], *types.Distinct] = Field(
        default=(), description="patterns of files that may lack libraries, because nothing in the image runs them"
    )
    private_keys: tuple[AllowedKey, ...] = Field(
        default=(), description="private keys that the image may have; any other that no package brings is refused"
    )
    repeatable: MaybeRepeatable = Field(
        default=None,
        description="{no_because: …} if a second build gives a different image: `verify` then reports what differs, and"
        " the reason",
    )
    certificates: Annotated[tuple[types.Inside, ...], *types.Distinct] = Field(
        default=(),
        description="files of the recipe's folder with certificates of authorities (CA, in PEM form) that programs of"
        " the image trust, Java's too",
    )
    platforms: Annotated[tuple[types.KnownPlatform, ...], *types.Distinct] = Field(
        default=(),
        description="platforms to build for, such as linux/amd64 and linux/arm64; default: this machine's platform;"
        " not part of the digest",
    )
    builder: NamedOrPlanned | None = Field(
        default=None,
        description="the builder to import the image through: its name, or its description; not part of the digest",
    )

    fresh_within: types.Duration | None = Field(
        default=None,
        description="the longest time between checks, such as 36h or 2d; default: the setting of this name",
    )
    support: Literal["lts", "elts", "esm"] | None = Field(
        default=None, description="the support it relies on when full support has ended; default: its base images'"
    )

    @property
    def apt_request(self) -> AptRequest | None:
        """What apt is asked for by this recipe alone; None where it has no packages of its own."""
        return None

    @property
    def needs(self) -> tuple[Need, ...]:
        """Keys that only work with some packages in the image, which are checked when these are resolved."""
        return ()

    @property
    def standalone(self) -> tuple[str, ...]:
        """Packages that are asked for without those they depend on."""
        return ()

    @property
    def optional_packages(self) -> tuple[str, ...]:
        """Those of `standalone` that not every suite has."""
        return ()

    @property
    def added_packages(self) -> AddedPackages | None:
        """The packages and archives that it adds to those of its base image; None for kinds without a base image."""
        return None

    @property
    def adds_packages(self) -> bool:
        """Whether apt has to be asked at all."""
        return True

    @property
    def base_recipe(self) -> str | None:
        """The recipe whose image this one adds a layer to; None for an image with layers of its own only."""
        return None

    @property
    def base_images(self) -> tuple[str, ...]:
        """Recipes whose newest images the build is given; their manifest digests are part of the input digest."""
        return ()

    @property
    def tarball(self) -> TarballKeys | None:
        """The archive that the image is made of, where it is made of one."""
        return None

    @property
    def host_tools(self) -> tuple[str, ...]:
        """Debian packages of this machine that make the image; their versions are part of the input digest."""
        return ()

    @property
    def filters(self) -> Filters:
        """Which files are left out when the layer is packed."""
        return Filters()

    @property
    def added_files(self) -> tuple[str, ...]:
        """The paths of the files, links and folders that it adds itself."""
        return ()

    @property
    def given_files(self) -> tuple[str, ...]:
        """Those of the added files that are the same in each build."""
        return self.added_files

    @property
    def keeps_devices(self) -> bool:
        """Whether /dev keeps the usual devices."""
        return False

    @property
    def container_settings(self) -> ImageSettings:
        """What a container starts with, with what other keys of the recipe add to `image`."""
        return self.image

    @property
    def no_because(self) -> str:
        """Why a second build gives another image; empty where it gives the same."""
        return self.repeatable.no_because if self.repeatable else ""

    def for_image(self, image: str) -> Recipe:  # noqa: ARG002
        """The recipe of one of its images: its own, or another one that it makes, such as for debugging."""
        return self

    def with_bootstrapper(self, name: str) -> Recipe:  # noqa: ARG002
        """The recipe with another program that makes the tree, where it has a choice. Raises InputError."""
        return self

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from ((("certificates", index), file) for index, file in enumerate(self.certificates))
        for index, check in enumerate(self.smoke):
            yield from ((("smoke", index, "files", number), file) for number, file in enumerate(check.files))

    def optional_files(self, *, pooled: bool) -> set[str]:  # noqa: ARG002
        """Keys whose files need not be in the folder; `pooled` where the store has what an earlier build used."""
        return set()

    def contradictions(self) -> Iterator[tuple[Key, str]]:
        """Keys that cannot work together, or in any image, each with the reason in a sentence."""
        yield from ()

    def file_problems(self, folder: Path) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """(file:line:column, sentence) for what is wrong in files that it names."""
        yield from ()


class FurtherArchives(Part):
    """Additional archives, apt pins, and a lock file."""

    repositories: tuple[Repository, ...] = Field(default=(), description="additional package archives")
    pins: tuple[Pin, ...] = Field(default=(), description="which versions apt prefers")
    lock: types.Inside | None = Field(
        default=None,
        description="a lock file in the recipe's folder (`baseforge lock --write`), instead of the newest packages",
    )


class DistributionArchives(FurtherArchives):
    """A distribution's own archives, and the state of them to use."""

    pockets: Annotated[tuple[Literal["updates", "security"], ...], *types.Distinct] = Field(
        default=("updates", "security"), description="additional suites with newer packages"
    )
    components: Annotated[tuple[types.Component, ...], *types.Distinct, *types.NotEmpty] = Field(
        default=("main",), description="components of the archive to use"
    )
    snapshot: types.Snapshot | None = Field(
        default=None,
        description="a moment of the snapshot archive, such as 20261101T000000Z, instead of the newest packages",
    )

    @model_validator(mode="after")
    def _one_state(self) -> Self:
        if self.lock is not None and self.snapshot is not None:
            raise ValueError("'lock' and 'snapshot' exclude each other: each says which packages to use")
        return self


class AptRequest(PackageSelection, DistributionArchives):
    """What apt is asked for. The variant `none` has only the included packages."""

    suite: types.Suite = Field(description="the distribution's code name: noble, trixie, …")
    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard", "none"] = "none"

    @property
    def named_components(self) -> tuple[str, ...]:
        """Components of the distribution's archive that it names for apt in the image alone."""
        return ()

    @property
    def pocket_suites(self) -> frozenset[str]:
        """The suites that the pockets may be."""
        return pocket_suites(self.suite, self.pockets)


def pocket_suites(suite: str, pockets: Iterable[str]) -> frozenset[str]:
    """The suites that the pockets of a suite may be: Debian 10 and older have SUITE/updates with security fixes."""
    return frozenset(
        {*(f"{suite}-{each}" for each in pockets), *(f"{suite}/updates" for each in pockets if each == "security")}
    )


class AddedPackages(PackageSelection, FurtherArchives):
    """Packages, and the archives that they may come from besides the distribution's own."""


class ImageContents(Part):
    """What to add to an image of packages, and what to leave out."""

    paths: PathRules = Field(default_factory=PathRules, description="additional files to leave out")
    groups: tuple[Group, ...] = Field(default=(), description="additional groups")
    users: tuple[User, ...] = Field(default=(), description="additional users")
    locale: types.Locale | None = Field(
        default=None,
        description="the image's LANG, such as C.UTF-8 or de_DE.UTF-8; the latter needs the package `locales`",
    )
    timezone: types.Timezone | None = Field(
        default=None, description="the time zone, such as Europe/Berlin, which needs the package `tzdata`; default: UTC"
    )


def foreign_architectures(lineage: Iterable[Recipe], native: str) -> tuple[str, ...]:
    """The foreign architectures of an image, by its recipe and those of its base images."""
    added = (each.added_packages for each in lineage)
    names = dict.fromkeys(name for each in added if each for name in each.architectures(native))
    return tuple(name for name in names if name != native)


class Packaged(ImageContents, AddedPackages, Recipe):
    """A recipe whose packages are installed, with their scripts, in a tree that has a package manager."""

    takes_layers: ClassVar[bool] = True
    runs_programs: ClassVar[str] = "its packages' scripts have to run"

    slim: Slim = Field(default=(), description=SLIM)
    files: Files = Field(default=(), description="files, links and folders to add; they replace those of packages")
    customise: tuple[types.Inside, ...] = Field(
        default=(), description="scripts in the recipe's folder, run inside the tree in this order, without network"
    )
    package_manager: Literal["keep", "remove"] = Field(
        default="keep", description="`remove` takes apt and dpkg out of the image"
    )

    @field_validator("smoke")
    @classmethod
    def _installed(cls, checks: tuple[SmokeCheck, ...]) -> tuple[SmokeCheck, ...]:
        if any(check.packages for check in checks):
            raise ValueError("only scratch recipes bring 'packages' for a check: name them in 'include'")
        return checks

    @property
    def added_packages(self) -> AddedPackages:
        """The packages and archives that it adds to those of its base image."""
        return self

    @property
    def further_components(self) -> tuple[str, ...]:
        """Components of the distribution's archive that it uses besides those of its base image."""
        return ()

    @property
    def needs(self) -> tuple[Need, ...]:
        """Keys that only work with some packages in the image."""
        found = []
        if self.timezone and self.timezone not in types.BUILT_IN_ZONES:
            found.append(Need(("timezone",), f"time zone {self.timezone!r}", ("tzdata",)))
        if self.locale and self.locale not in types.BUILT_IN_LOCALES:
            found.append(Need(("locale",), f"locale {self.locale!r}", ("locales", "locales-all")))
        if self.certificates:
            found.append(Need(("certificates",), "`certificates`", ("ca-certificates",)))
        return tuple(found)

    def contradictions(self) -> Iterator[tuple[Key, str]]:
        """Keys that cannot work together, or in any image."""
        yield from super().contradictions()
        yield from path_contradictions(self.files)
        yield from account_contradictions(self.users, self.groups)
        for index, name in enumerate(self.exclude):
            if name in self.include:
                yield ("exclude", index), f"{name!r} is in `include`, too"

    @property
    def filters(self) -> Filters:
        """Which files are left out when the layer is packed."""
        return Filters(self.slim, self.paths.exclude, self.paths.include)

    @property
    def added_files(self) -> tuple[str, ...]:
        """The paths of the files, links and folders that it adds itself."""
        return tuple(entry.path for entry in self.files)

    @property
    def container_settings(self) -> ImageSettings:
        """What a container starts with: the locale is its LANG, unless `env` says another."""
        return with_locale(self.image, self.locale)

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from super().named_files()
        yield from named_sources(self.files)
        yield from named_keyrings(self.repositories)
        yield from ((("customise", index), script) for index, script in enumerate(self.customise))
        if self.lock is not None:
            yield ("lock",), self.lock


def with_locale(settings: ImageSettings, locale: str | None) -> ImageSettings:
    """Settings of a container with the locale as its LANG, unless `env` says another."""
    return settings if locale is None else settings.model_copy(update={"env": {"LANG": locale, **settings.env}})


def named_sources(files: Files) -> Iterator[tuple[Key, str]]:
    """The files of the recipe's folder that become files of the image, with the key that names each."""
    for index, entry in enumerate(files):
        if entry.source is not None:
            yield ("files", index, "from"), entry.source


def named_keyrings(repositories: tuple[Repository, ...]) -> Iterator[tuple[Key, str]]:
    """The keyrings of further archives, with the key that names each."""
    yield from ((("repositories", index, "keyring"), each.keyring) for index, each in enumerate(repositories))
