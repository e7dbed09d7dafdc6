"""A recipe: one YAML file that says what an image is. The models, and how a file becomes one.

Every key's description is shown by editors (`recipes/recipe.schema.json` is made from these models).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from rootfs import fields, reader
from rootfs.common import Common, Origin, Packaged
from rootfs.complaints import complaints
from rootfs.contents import contents, is_file, strays, text_of
from rootfs.digests import canonical_digest
from rootfs.dockerfile import DockerfileRecipe, faults
from rootfs.errors import RecipeInvalid, UnknownRecipe, nearest
from rootfs.parents import wrong_parents
from rootfs.scratch.recipe import DEBUG, ScratchRecipe, debugging
from rootfs.tarball import TarballKeys, is_address

DEBOOTSTRAP_VARIANTS = ("minbase", "buildd", "important")


class _Bootstrapped(Common):
    kind: Literal["debootstrap"] = Field(description="a tree of packages from a Debian or Ubuntu archive")
    engine: Literal["mmdebstrap", "debootstrap"] = Field(
        default="mmdebstrap", description="the program that makes the tree"
    )


# Keys come in the order of the bases from last to first: what an editor and an error show.
class DebootstrapRecipe(Packaged, Origin, _Bootstrapped):
    """A Debian or Ubuntu tree, made of packages from the distribution's own archive."""

    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard"] = Field(
        default="minbase",
        description="how many packages to begin with, few to many; engine debootstrap knows only three",
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


class LayerRecipe(Packaged):
    """A further layer on the image of another recipe."""

    kind: Literal["layer"] = Field(description="one more layer on the image of another recipe")
    parent: fields.Name = Field(alias="from", description="the recipe whose image it is laid on, in the same folder")


class TarballRecipe(TarballKeys, Common):
    """A root filesystem as somebody else has made it, checked and packed anew."""

    kind: Literal["tarball"] = Field(description="a root filesystem in a tar archive, of any distribution")

    @field_validator("platforms")
    @classmethod
    def _one_platform(cls, platforms: tuple[str, ...]) -> tuple[str, ...]:
        if len(platforms) > 1:
            raise ValueError("an archive is for one platform: write a recipe for each")
        return platforms


Recipe = DebootstrapRecipe | ScratchRecipe | TarballRecipe | LayerRecipe | DockerfileRecipe
KINDS: dict[str, type[Recipe]] = {
    "debootstrap": DebootstrapRecipe,
    "scratch": ScratchRecipe,
    "tarball": TarballRecipe,
    "layer": LayerRecipe,
    "dockerfile": DockerfileRecipe,
}


def find(name: str, folder: Path) -> Path:
    """The file of the recipe that an image of this name is made by. Raises UnknownRecipe with the nearest name."""
    known = {path.stem: path for path in _recipes(folder)}
    path = known.get(name) or known.get(name.removesuffix(DEBUG))
    if path is None or name not in _images(path):
        raise UnknownRecipe(name, folder, list(known))
    return path


def images_of(folder: Path, only: Iterable[str] = ()) -> list[str]:
    """The images of a folder of recipes, or those named in `only`: whether a recipe is right is not looked at.

    Raises UnknownRecipe.
    """
    wanted = [name for name in only if find(name, folder)]
    return wanted or [name for path in _recipes(folder) for name in _images(path)]


def _images(path: Path) -> Iterator[str]:
    """The names of a recipe's images: its own, and that of the one for debugging."""
    yield path.stem
    try:
        data = text_of(path)
    except RecipeInvalid:  # as reading it says
        return
    if b"debug" in data and re.search(rb"^debug:\s*true\b", data, re.MULTILINE):
        yield f"{path.stem}{DEBUG}"


def folder_of(path: Path) -> Path:
    """The folder beside a recipe's file that holds the files it names; a recipe without such files has none."""
    return path.parent / path.stem


def read(path: Path, image: str = "", *, pooled: bool = False) -> Recipe:
    """The recipe in a file, of its own `image` or of the one for debugging.

    Where it is `pooled`, what the store has need not be in the folder: a tarball, and what a Dockerfile stands on.
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
    wrong.extend(_missing(recipe, document, folder_of(path), pooled=pooled))
    if not (pooled and isinstance(recipe, DockerfileRecipe)):
        wrong.extend((document.place(key), why) for key, why in wrong_parents(path))
    if wrong:
        raise RecipeInvalid(wrong)
    return debugging(recipe) if image == f"{recipe.name}{DEBUG}" and isinstance(recipe, ScratchRecipe) else recipe


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

    The description and the builder do not count: a better sentence makes no other image, nor does another builder, nor
    one for a further platform. A tarball counts in the lock. Raises RecipeInvalid for a file that cannot be read.
    """
    said = recipe.model_dump(mode="json", by_alias=True, exclude={"description", "builder", "platforms"})
    archive = recipe.source if isinstance(recipe, TarballRecipe) else None
    whole = isinstance(recipe, ScratchRecipe | DockerfileRecipe)
    files = contents(folder, but=archive) if whole or any(_named(recipe)) else []
    return canonical_digest({"recipe": said, "files": files})


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


def _missing(recipe: Recipe, document: reader.Document, folder: Path, *, pooled: bool) -> Iterator[tuple[str, str]]:
    """The files that a recipe names and nothing can bring; an archive whose sha256 is said may be in the pool."""
    if found := list(strays(folder)):  # nothing there is opened
        yield from ((document.place(("files",)), f"{path} {why}") for path, why in found)
        return
    made = {"files"} if isinstance(recipe, ScratchRecipe) and recipe.build else set()
    if isinstance(recipe, TarballRecipe) and (pooled or recipe.sha256):
        made = {"source"}
    for place, source in _named(recipe):
        if place[0] not in made and not is_file(folder / source):
            yield document.place(place), f"there is no file {folder / source}"
    if isinstance(recipe, DockerfileRecipe) and is_file(folder / recipe.dockerfile):
        yield from faults(recipe, folder)


def _named(recipe: Recipe) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each file of its folder that a recipe names, with the key that names it."""
    for index, check in enumerate(recipe.smoke):
        yield from ((("smoke", index, "files", number), file) for number, file in enumerate(check.files))
    if isinstance(recipe, TarballRecipe):
        sources = {"source": recipe.source, "signature": recipe.signature, "keyring": recipe.keyring}
        yield from (((key,), file) for key, file in sources.items() if file and not is_address(file))
        return
    if isinstance(recipe, DockerfileRecipe):
        yield ("dockerfile",), recipe.dockerfile
        return
    for index, entry in enumerate(recipe.files):
        if entry.source is not None:
            yield ("files", index, "from"), entry.source
    yield from ((("repositories", index, "keyring"), each.keyring) for index, each in enumerate(recipe.repositories))
    if isinstance(recipe, Packaged):
        yield from ((("customise", index), script) for index, script in enumerate(recipe.customise))
    if recipe.lock is not None:
        yield ("lock",), recipe.lock
