"""A recipe: one YAML file that says what an image is. The models, and how a file becomes one.

Every key's description is shown by editors (`recipes/recipe.schema.json` is made from these models).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from rootfs import fields, reader
from rootfs.builder import NamedOrPlanned
from rootfs.complaints import complaints
from rootfs.contents import contents, is_file, strays
from rootfs.digests import digest_of
from rootfs.errors import RecipeInvalid, UnknownRecipe, nearest
from rootfs.origin import Contents, Origin, Sources
from rootfs.parts import Files, ImageSettings, Part, SmokeCheck
from rootfs.scratch.words import MEANS, PACKAGES, Ingredient

DEBUG, SHELL = "-debug", "/busybox/sh"  # the ending of an image's name, and the shell it has
DEBOOTSTRAP_VARIANTS = ("minbase", "buildd", "important")
FROM_ARCHIVE = (
    "packages",
    "libraries",
    "opened",
    "repositories",
    "pins",
    "lock",
    "snapshot",
)  # keys of scratch recipes
SLIM = "files to leave out: documentation (copyright files stay), manual pages, translations"
Slim = Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct]


class _Common(Part):
    name: fields.Name = Field(description="the image's name: the file's name without .yaml")
    description: str = Field(default="", description="what the image is for, in a sentence; not part of the digest")
    image: ImageSettings = Field(default_factory=ImageSettings, description="what a container of the image starts with")
    smoke: tuple[SmokeCheck, ...] = Field(
        default=(), description="commands that must work before the image is published"
    )
    unlinked: Annotated[tuple[fields.PathGlob, ...], *fields.Distinct] = Field(
        default=(), description="patterns of files that may lack libraries in the image, as nothing runs them there"
    )
    builder: NamedOrPlanned | None = Field(
        default=None,
        description="the builder to import the image through: a name, or what it shall be; not part of the digest",
    )


class _Bootstrapped(Part):
    kind: Literal["debootstrap"] = Field(description="a tree of packages from a Debian or Ubuntu archive")
    engine: Literal["mmdebstrap", "debootstrap"] = Field(
        default="mmdebstrap", description="the program that makes the tree"
    )


# Keys come in the order of the bases from last to first: what an editor and an error show.
class DebootstrapRecipe(Contents, Origin, _Bootstrapped, _Common):
    """A Debian or Ubuntu tree, made of packages from the distribution's own archive."""

    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard"] = Field(
        default="minbase",
        description="how many packages to begin with, few to many; engine debootstrap knows only three",
    )
    slim: Slim = Field(default=(), description=SLIM)
    files: Files = Field(default=(), description="files, links and folders laid over the packages'")
    customise: tuple[fields.Inside, ...] = Field(
        default=(), description="scripts of the recipe's folder, run inside the tree, in order and without network"
    )
    package_manager: Literal["keep", "remove"] = Field(
        default="keep", description="`remove` takes apt and dpkg out of an image that shall not change"
    )

    @field_validator("variant")
    @classmethod
    def _known_to_engine(cls, variant: str, info: ValidationInfo) -> str:
        if info.data.get("engine") == "debootstrap" and variant not in DEBOOTSTRAP_VARIANTS:
            raise ValueError(f"engine debootstrap has no variant {variant!r}, only {', '.join(DEBOOTSTRAP_VARIANTS)}")
        return variant

    @property
    def origin(self) -> Origin:
        """What apt is asked for."""
        return self

    @property
    def alone(self) -> tuple[str, ...]:
        """Packages without those they depend on: none."""
        return ()


class ScratchRecipe(Contents, Sources, _Common):
    """An image of nothing but what is named here: files, and packages that are unpacked without their scripts."""

    kind: Literal["scratch"] = Field(description="an image of nothing but what is named here: files, unpacked packages")
    files: Files = Field(default=(), description="the files of the image, laid over the packages'")
    build: tuple[fields.Command, ...] = Field(
        default=(), description="commands, lists of words, run in a copy of the recipe's folder to make files"
    )
    tools: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(),
        description="Debian packages of the machine that `build` needs; their versions are part of the input digest",
    )
    suite: fields.Suite | None = Field(default=None, description="where packages come from: noble, trixie, …")
    packages: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that are unpacked whole; of what they depend on comes only what is needed"
    )
    libraries: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(),
        description="packages of which, and of whose dependencies, come the libraries that programs of the image are "
        "linked with, and the interpreters of its scripts",
    )
    opened: Annotated[tuple[fields.Library, ...], *fields.Distinct] = Field(
        default=(), description="libraries that programs open at run time, by name, taken from the same packages"
    )
    ingredients: Annotated[tuple[Ingredient, ...], *fields.Distinct] = Field(
        default=(), description="what most images need: " + "; ".join(f"`{key}`, {is_}" for key, is_ in MEANS.items())
    )
    nonroot: bool = Field(default=False, description="run as the user `nonroot` (65532), which `users` brings along")
    debug: bool = Field(default=False, description="make a second image of the same, NAME-debug, with busybox's shell")
    slim: Slim = Field(default=("docs", "man", "locales"), description=SLIM)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.files or self.packages or self.ingredients):
            raise ValueError("the image would be empty: name some `files`, `packages` or `ingredients`")
        return self

    @model_validator(mode="after")
    def _has_archive(self) -> Self:
        asked = [key for key in (*FROM_ARCHIVE, "locale", "timezone", "debug") if getattr(self, key)]
        asked += [f"{word}' in 'ingredients" for word in self.ingredients if PACKAGES[word]]
        if self.suite is None and asked:
            raise ValueError(f"'{asked[0]}' needs a 'suite' to take it from")
        return self

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if self.nonroot and self.image.user:
            raise ValueError("'nonroot' and 'user' in 'image' exclude each other: each says who runs the image")
        return self

    @property
    def origin(self) -> Origin | None:
        """What apt is asked for, with all dependencies; None where the image has no packages."""
        if self.suite is None:
            return None
        said = {key: getattr(self, key) for key in Sources.model_fields}
        return Origin(**said, suite=self.suite, include=tuple(dict.fromkeys((*self.packages, *self.libraries))))

    @property
    def alone(self) -> tuple[str, ...]:
        """Packages that come without those they depend on: a part of them is all that is taken."""
        wanted = [package for word in self.ingredients for package in PACKAGES[word]]
        if self.locale is not None:
            wanted.append("libc-bin" if self.locale.startswith("C.") else "locales-all")
        if self.timezone is not None:
            wanted.append("tzdata")
        return tuple(dict.fromkeys(wanted))


Recipe = DebootstrapRecipe | ScratchRecipe
KINDS: dict[str, type[Recipe]] = {"debootstrap": DebootstrapRecipe, "scratch": ScratchRecipe}


def find(name: str, folder: Path) -> Path:
    """The file of the recipe that an image of this name is made by. Raises UnknownRecipe with the nearest name."""
    known = {path.stem: path for path in _recipes(folder)}
    if name in known:
        return known[name]
    for path in known.values():
        if name in _images(path):
            return path
    raise UnknownRecipe(name, folder, list(known))


def images_of(folder: Path, only: Iterable[str] = ()) -> list[str]:
    """The images of a folder of recipes, or those named in `only`: whether a recipe is right is not looked at.

    Raises UnknownRecipe.
    """
    wanted = [name for name in only if find(name, folder)]
    return wanted or [name for path in _recipes(folder) for name in _images(path)]


def _images(path: Path) -> Iterator[str]:
    """The names of a recipe's images: its own, and that of the one for debugging."""
    yield path.stem
    if b"debug" in (data := path.read_bytes()) and re.search(rb"^debug:\s*true\b", data, re.MULTILINE):
        yield f"{path.stem}{DEBUG}"


def folder_of(path: Path) -> Path:
    """The folder beside a recipe's file that holds the files it names; a recipe without such files has none."""
    return path.parent / path.stem


def read(path: Path, image: str = "") -> Recipe:
    """The recipe in a file, of its own `image` or of the one for debugging.

    Raises RecipeInvalid with everything that is wrong in it.
    """
    document = reader.load(path)
    model = _model(document)
    wrong = []
    if "name" in document.values:
        wrong.append((document.key(("name",)), "unknown key 'name': a recipe has the name of its file"))
    try:
        recipe = model.model_validate({**document.values, "name": path.stem})
    except ValidationError as error:
        raise RecipeInvalid(wrong + complaints(error, document, model)) from None
    wrong.extend(_missing(recipe, document, folder_of(path)))
    if wrong:
        raise RecipeInvalid(wrong)
    return debugging(recipe) if image == f"{recipe.name}{DEBUG}" and isinstance(recipe, ScratchRecipe) else recipe


def debugging(recipe: ScratchRecipe) -> ScratchRecipe:
    """The same image with a shell, and busybox's other programs behind it, to look around in."""
    said = recipe.model_dump(exclude_defaults=True, by_alias=True) | {"name": f"{recipe.name}{DEBUG}", "debug": False}
    said["packages"] = tuple(dict.fromkeys((*recipe.packages, "busybox-static")))
    said["files"] = (*said.get("files", ()), {"path": SHELL, "link": "/usr/bin/busybox"})
    return ScratchRecipe.model_validate(said)


def read_all(folder: Path) -> list[Recipe]:
    """Every recipe of a folder, by name. Raises RecipeInvalid with what is wrong in any of them."""
    recipes: list[Recipe] = []
    wrong: list[tuple[str, str]] = []
    for path in _recipes(folder):
        try:
            recipes.append(read(path))
        except RecipeInvalid as error:
            wrong.extend(error.problems)
    if wrong:
        raise RecipeInvalid(wrong)
    return recipes


def digest(recipe: Recipe, folder: Path) -> str:
    """`sha256:HEX` of what a recipe says, defaults included, and of the files in its `folder` (see `folder_of`).

    The description and the builder do not count: a better sentence makes no other image, nor does another builder.
    Raises RecipeInvalid for a file that cannot be read.
    """
    said = recipe.model_dump(mode="json", by_alias=True, exclude={"description", "builder"})
    files = contents(folder) if isinstance(recipe, ScratchRecipe) or any(_named(recipe)) else []
    return digest_of({"recipe": said, "files": files})


def _recipes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"), key=lambda path: path.stem)


def _model(document: reader.Document) -> type[Recipe]:
    kind = document.at(("kind",))
    if kind is None:
        raise RecipeInvalid([(document.place(("kind",)), f"key 'kind' is missing; it is one of {', '.join(KINDS)}")])
    if not isinstance(kind, str) or kind not in KINDS:
        hint = nearest(str(kind), KINDS) or f"It is one of {', '.join(KINDS)}."
        raise RecipeInvalid([(document.place(("kind",)), f"there is no such kind of recipe. {hint}")])
    return KINDS[kind]


def _missing(recipe: Recipe, document: reader.Document, folder: Path) -> Iterator[tuple[str, str]]:
    """The files that a recipe names and nothing can bring."""
    for path, why in strays(folder):
        yield document.place(("files",)), f"{path} {why}"
    made = isinstance(recipe, ScratchRecipe) and bool(recipe.build)
    for place, source in _named(recipe):
        if not (made and place[0] == "files") and not is_file(folder / source):
            yield document.place(place), f"there is no file {folder / source}"


def _named(recipe: Recipe) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each file of its folder that a recipe names, with the key that names it."""
    for index, entry in enumerate(recipe.files):
        if entry.source is not None:
            yield ("files", index, "from"), entry.source
    yield from ((("repositories", index, "keyring"), each.keyring) for index, each in enumerate(recipe.repositories))
    if isinstance(recipe, DebootstrapRecipe):
        yield from ((("customise", index), script) for index, script in enumerate(recipe.customise))
    if recipe.lock is not None:
        yield ("lock",), recipe.lock
