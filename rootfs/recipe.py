"""A recipe: one YAML file that says what an image is. The models, and how a file becomes one.

Every key's description is shown by editors (`recipes/recipe.schema.json` is made from these models).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from rootfs import fields, reader
from rootfs.common import Common
from rootfs.complaints import complaints
from rootfs.contents import contents, is_file, strays
from rootfs.digests import digest_of
from rootfs.dockerfile import DockerfileRecipe, faults
from rootfs.errors import RecipeInvalid, UnknownRecipe, nearest
from rootfs.parents import check_parents
from rootfs.parts import Files, Group, PathRules, Pin, Repository, User

DEBOOTSTRAP_VARIANTS = ("minbase", "buildd", "important")


class DebootstrapRecipe(Common):
    """A Debian or Ubuntu tree, made of packages from the distribution's own archive."""

    kind: Literal["debootstrap"] = Field(description="a tree of packages from a Debian or Ubuntu archive")
    suite: fields.Suite = Field(description="the distribution's code name: noble, trixie, …")
    pockets: Annotated[tuple[Literal["updates", "security"], ...], *fields.Distinct] = Field(
        default=("updates", "security"), description="suites with newer packages that come with it"
    )
    components: Annotated[tuple[fields.Component, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        default=("main",), description="parts of the archive that packages may come from"
    )
    engine: Literal["mmdebstrap", "debootstrap"] = Field(
        default="mmdebstrap", description="the program that makes the tree"
    )
    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard"] = Field(
        default="minbase",
        description="how many packages to begin with, few to many; engine debootstrap knows only three",
    )
    include: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(default=(), description="further packages")
    exclude: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that must not come along, as dependencies or with the variant"
    )
    recommends: bool = Field(default=False, description="whether recommended packages come along")
    repositories: tuple[Repository, ...] = Field(default=(), description="further archives")
    pins: tuple[Pin, ...] = Field(default=(), description="which versions apt prefers")
    lock: fields.Inside | None = Field(
        default=None, description="a lock file in the recipe's folder (`baseforge lock --write`) instead of the newest"
    )
    snapshot: fields.Snapshot | None = Field(
        default=None, description="a moment of the snapshot archive, as 20261101T000000Z, instead of the newest"
    )
    slim: Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct] = Field(
        default=(), description="files to leave out: documentation (copyright files stay), manual pages, translations"
    )

    paths: PathRules = Field(default_factory=PathRules, description="further files to leave out")
    files: Files = Field(default=(), description="files, links and folders laid over the packages'")
    groups: tuple[Group, ...] = Field(default=(), description="further groups")
    users: tuple[User, ...] = Field(default=(), description="further users")
    customise: tuple[fields.Inside, ...] = Field(
        default=(), description="scripts of the recipe's folder, run inside the tree, in order and without network"
    )
    locale: fields.Locale | None = Field(
        default=None, description="LANG of the image, such as C.UTF-8 or de_DE.UTF-8; the latter needs `locales`"
    )
    timezone: fields.Timezone | None = Field(
        default=None, description="the time zone, such as Europe/Berlin, which needs `tzdata`; UTC where none is said"
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

    @model_validator(mode="after")
    def _one_state(self) -> Self:
        if self.lock is not None and self.snapshot is not None:
            raise ValueError("'lock' and 'snapshot' exclude each other: each says which packages are meant")
        return self


class ScratchRecipe(Common):
    """An image of nothing but the files that are named here."""

    kind: Literal["scratch"] = Field(description="an image of nothing but the files named here")
    files: Annotated[Files, *fields.NotEmpty] = Field(description="the files of the image")
    build: tuple[fields.Command, ...] = Field(
        default=(), description="commands, lists of words, run in a copy of the recipe's folder to make files"
    )
    tools: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(),
        description="Debian packages of the machine that `build` needs; their versions are part of the input digest",
    )


Recipe = DebootstrapRecipe | ScratchRecipe | DockerfileRecipe
KINDS: dict[str, type[Recipe]] = {
    "debootstrap": DebootstrapRecipe,
    "scratch": ScratchRecipe,
    "dockerfile": DockerfileRecipe,
}


def find(name: str, folder: Path) -> Path:
    """The file of the recipe of this name. Raises UnknownRecipe with the nearest name."""
    known = [path.stem for path in _recipes(folder)]
    if name not in known:
        raise UnknownRecipe(name, folder, known)
    return folder / f"{name}.yaml"


def images_of(folder: Path, only: Iterable[str] = ()) -> list[str]:
    """The images of a folder of recipes, or those named in `only`, by their files' names: none is read.

    Raises UnknownRecipe.
    """
    return [find(name, folder).stem for name in only] or [path.stem for path in _recipes(folder)]


def folder_of(path: Path) -> Path:
    """The folder beside a recipe's file that holds the files it names; a recipe without such files has none."""
    return path.parent / path.stem


def read(path: Path) -> Recipe:
    """The recipe in a file. Raises RecipeInvalid with everything that is wrong in it."""
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
    return recipe


def read_beside(path: Path) -> Recipe:
    """The same, where the recipes whose images it is made of are in the same folder. Raises RecipeInvalid."""
    recipe = read(path)
    check_parents(path)
    return recipe


def read_all(folder: Path) -> list[Recipe]:
    """Every recipe of a folder, by name. Raises RecipeInvalid with what is wrong in any of them."""
    recipes: list[Recipe] = []
    wrong: list[tuple[str, str]] = []
    for path in _recipes(folder):
        try:
            recipes.append(read_beside(path))
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
    whole = isinstance(recipe, ScratchRecipe | DockerfileRecipe)
    files = contents(folder) if whole or any(_named(recipe)) else []
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
        elif isinstance(recipe, DockerfileRecipe):
            yield from faults(recipe, folder)


def _named(recipe: Recipe) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each file of its folder that a recipe names, with the key that names it."""
    if isinstance(recipe, DockerfileRecipe):
        yield ("dockerfile",), recipe.dockerfile
        return
    for index, entry in enumerate(recipe.files):
        if entry.source is not None:
            yield ("files", index, "from"), entry.source
    if isinstance(recipe, ScratchRecipe):
        return
    yield from ((("repositories", index, "keyring"), each.keyring) for index, each in enumerate(recipe.repositories))
    yield from ((("customise", index), script) for index, script in enumerate(recipe.customise))
    if recipe.lock is not None:
        yield ("lock",), recipe.lock
