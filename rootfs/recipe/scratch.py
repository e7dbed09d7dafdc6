"""Recipes of images from nothing, and of their images for debugging."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rootfs.network.certificates import FOLDER
from rootfs.recipe import types
from rootfs.recipe.base import (
    SLIM,
    AptRequest,
    DistributionArchives,
    ImageContents,
    Recipe,
    Slim,
    named_keyrings,
    named_sources,
    with_locale,
)
from rootfs.recipe.sections import DEFAULT_PATH, Files, ImageSettings, Key, account_contradictions, path_contradictions

Ingredient = Literal[
    "certificates",
    "keystore",
    "zones",
    "users",
    "tmp",
    "os-release",
    "nsswitch",
    "mime-types",
    "busybox",
    "debug-shell",
    "linker-cache",
]

NONROOT = 65532  # as in other images without a distribution, just before those that mean nobody
NONROOT_HOME = "/home/nonroot"

INGREDIENT_TEXTS: dict[Ingredient, str] = {
    "certificates": "the CA certificates in /etc/ssl/certs/ca-certificates.crt",
    "keystore": "the same for Java, in /etc/ssl/certs/java/cacerts",
    "zones": "the time zones in /usr/share/zoneinfo",
    "users": "/etc/passwd and /etc/group with root, nobody and nonroot (65532), and their home folders",
    "tmp": "folders for temporary files: /tmp and /var/tmp, which everybody can write to, /run and /var/run",
    "os-release": "the distribution's /etc/os-release",
    "nsswitch": "/etc/nsswitch.conf, which makes programs look up names in files and in the DNS, and the files that it "
    "names: /etc/services, /etc/protocols, …",
    "mime-types": "/etc/mime.types, the media type of each file name's ending",
    "busybox": "busybox, and a link in /usr/bin for each of its programs",
    "debug-shell": "the same in the folder /busybox, as `debug` has it",
    "linker-cache": "/etc/ld.so.cache, which the dynamic linker reads instead of searching folders",
}

# Older suites have the zones of tzdata-legacy, such as US/Pacific, in tzdata.
TIME_ZONES = ("tzdata", "tzdata-legacy")

INGREDIENT_PACKAGES: dict[Ingredient, tuple[str, ...]] = {
    "certificates": ("ca-certificates",),
    "keystore": ("ca-certificates",),
    "zones": TIME_ZONES,
    "users": (),
    "tmp": (),
    "os-release": ("base-files",),
    "nsswitch": ("netbase",),
    "mime-types": ("media-types",),
    "busybox": ("busybox-static",),
    "debug-shell": ("busybox-static",),
    "linker-cache": (),
}

DEBUG_SUFFIX, DEBUG_FOLDER = "-debug", "/busybox"  # the ending of an image's name, and the folder that it adds
# Prints the programs that debug images have no link for.
ALL_LINKED = f"for each in $(busybox --list); do [ -x {DEBUG_FOLDER}/$each ] || echo $each; done"
KEYS_NEEDING_SUITE = (
    "packages",
    "libraries",
    "opened",
    "repositories",
    "pins",
    "lock",
    "snapshot",
)  # keys that need a suite


class ScratchRecipe(ImageContents, DistributionArchives, Recipe):
    """An image of only the files and packages that the recipe names; no script of a package runs."""

    digests_whole_folder: ClassVar[bool] = True

    kind: Literal["scratch"] = Field(description="an image of only the files and packages that the recipe names")
    files: Files = Field(default=(), description="the files of the image; they replace those of packages")
    build: tuple[types.Command, ...] = Field(
        default=(),
        description="commands that make files, each a list of words; they run in a copy of the recipe's folder",
    )
    tools: Annotated[tuple[types.PackageName, ...], *types.Distinct] = Field(
        default=(),
        description="what `build` needs of this machine: Debian packages, or programs of the setting `toolchains`; "
        "their versions or digests are part of the input digest",
    )
    suite: types.Suite | None = Field(default=None, description="where packages come from: noble, trixie, …")
    packages: Annotated[tuple[types.PackageName, ...], *types.Distinct] = Field(
        default=(), description="packages to unpack whole; of their dependencies the image gets only the needed files"
    )
    libraries: Annotated[tuple[types.PackageName, ...], *types.Distinct] = Field(
        default=(),
        description="packages that, with their dependencies, provide the libraries that programs of the image are "
        "linked with, and the interpreters of its scripts",
    )
    opened: Annotated[tuple[types.Library, ...], *types.Distinct] = Field(
        default=(), description="names of libraries that programs load at run time, from the same packages"
    )
    ingredients: Annotated[tuple[Ingredient, ...], *types.Distinct] = Field(
        default=(),
        description="what most images need: " + "; ".join(f"`{key}`, {is_}" for key, is_ in INGREDIENT_TEXTS.items()),
    )
    nonroot: bool = Field(default=False, description="run as the user `nonroot` (65532) of the ingredient `users`")
    debug: bool = Field(
        default=False,
        description="also make the image NAME-debug, which has a shell and busybox's other programs in addition, in "
        "/busybox and so in PATH",
    )
    slim: Slim = Field(default=("docs", "man", "locales"), description=SLIM)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.files or self.packages or self.ingredients or self.certificates):
            raise ValueError("the image would be empty: name some `files`, `packages` or `ingredients`")
        return self

    @model_validator(mode="after")
    def _has_archive(self) -> Self:
        asked = [key for key in (*KEYS_NEEDING_SUITE, "locale", "debug") if getattr(self, key)]
        asked += ["timezone"] if self.timezone and self.timezone not in types.BUILT_IN_ZONES else []
        asked += [f"{word}' in 'ingredients" for word in self.ingredients if INGREDIENT_PACKAGES[word]]
        asked += ["packages' in 'smoke" for check in self.smoke if check.packages]
        if self.suite is None and asked:
            raise ValueError(f"'{asked[0]}' needs a 'suite' to take it from")
        return self

    @model_validator(mode="after")
    def _one_shell(self) -> Self:
        if self.debug and any(
            DEBUG_FOLDER in (entry.path, *map(str, PurePosixPath(entry.path).parents)) for entry in self.files
        ):
            raise ValueError(f"'debug' makes {DEBUG_FOLDER}, which is in 'files' already")
        return self

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if self.nonroot and self.image.user:
            raise ValueError("'nonroot' and 'user' in 'image' exclude each other: each says who runs the image")
        return self

    @property
    def apt_request(self) -> AptRequest | None:
        """What apt is asked for, with all dependencies; None where the image has no packages."""
        if self.suite is None:
            return None
        keys = {key: getattr(self, key) for key in DistributionArchives.model_fields}
        return AptRequest(**keys, suite=self.suite, include=tuple(dict.fromkeys((*self.packages, *self.libraries))))

    @property
    def standalone(self) -> tuple[str, ...]:
        """Packages without those they depend on: ones that a part of is taken, and those for checks."""
        return tuple(dict.fromkeys((*self.partly, *(name for check in self.smoke for name in check.packages))))

    @property
    def partly(self) -> tuple[str, ...]:
        """Packages that the image has a part of: what an ingredient, the locale or the time zone is taken from."""
        names = [package for word in self.ingredients for package in INGREDIENT_PACKAGES[word]]
        if self.locale is not None:
            names.append("libc-bin" if self.locale.startswith("C.") else "locales-all")
        if self.timezone is not None and self.suite is not None:  # UTC needs no package
            names.extend(TIME_ZONES)
        return tuple(names)

    @property
    def optional_packages(self) -> tuple[str, ...]:
        """Those of `standalone` that not every suite has."""
        return tuple(name for name in self.partly if name == "tzdata-legacy")

    @property
    def host_tools(self) -> tuple[str, ...]:
        """Debian packages of this machine that `build` needs."""
        return self.tools

    @property
    def added_files(self) -> tuple[str, ...]:
        """The paths of the files, links and folders that it adds itself."""
        return tuple(entry.path for entry in self.files)

    @property
    def given_files(self) -> tuple[str, ...]:
        """Those of the added files that are the same in each build: none, if commands may make them."""
        return () if self.build else self.added_files

    @property
    def container_settings(self) -> ImageSettings:
        """What a container starts with: the locale as its LANG, and the user `nonroot` where the recipe says so."""
        settings = with_locale(self.image, self.locale)
        if not self.nonroot:
            return settings
        user = {"user": f"{NONROOT}:{NONROOT}", "workdir": settings.workdir or NONROOT_HOME}
        return settings.model_copy(update=user)

    def for_image(self, image: str) -> ScratchRecipe:
        """The recipe of its own image, or of the one for debugging."""
        return debug_recipe(self) if image == f"{self.name}{DEBUG_SUFFIX}" else self

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from super().named_files()
        yield from named_sources(self.files)
        yield from named_keyrings(self.repositories)
        if self.lock is not None:
            yield ("lock",), self.lock

    def contradictions(self) -> Iterator[tuple[Key, str]]:
        """Keys that cannot work together, or in any image."""
        yield from super().contradictions()
        yield from path_contradictions(self.files)
        yield from account_contradictions(self.users, self.groups)
        for index, entry in enumerate(self.files):
            if entry.path.startswith(f"/{FOLDER}/") and not entry.folder:
                yield (
                    ("files", index, "path"),
                    "nothing in a scratch image reads this folder: name it in `certificates`",
                )

    def optional_files(self, *, pooled: bool) -> set[str]:  # noqa: ARG002
        """Keys whose files need not be in the folder: `build` may make them."""
        return {"files"} if self.build else set()


def debug_recipe(recipe: ScratchRecipe) -> ScratchRecipe:
    """The same image with a shell, and busybox's other programs, to look around in. The shell is its command, unless
    the image has one.
    """
    keys = recipe.model_dump(exclude_defaults=True, by_alias=True) | {
        "name": f"{recipe.name}{DEBUG_SUFFIX}",
        "debug": False,
        "ingredients": tuple(dict.fromkeys((*recipe.ingredients, "debug-shell"))),
    }
    image = recipe.image
    path = f"{image.env.get('PATH', DEFAULT_PATH)}:{DEBUG_FOLDER}"
    keys["image"] = {**keys.get("image", {}), "env": {**image.env, "PATH": path}}
    if not (image.entrypoint or image.cmd):
        keys["image"]["cmd"] = (f"{DEBUG_FOLDER}/sh",)
    if not image.entrypoint:  # which every check goes through
        keys["smoke"] = (*keys.get("smoke", ()), {"run": ("sh", "-c", ALL_LINKED), "stdout": "^$"})
    return ScratchRecipe.model_validate(keys)
