"""Recipes are YAML files: find them, read and check them, and compute their digests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from rootfs.errors import InputError, RecipeInvalid, RecipeValue, nearest
from rootfs.network.addresses import canonical_address
from rootfs.network.certificates import read_certificates
from rootfs.recipe import yaml
from rootfs.recipe.base import AptRequest, Packaged, Recipe, foreign_architectures
from rootfs.recipe.base_images import (
    base_image_problems,
    base_images_first,
    folders_of,
    listed,
    recipe_places,
    same_name,
)
from rootfs.recipe.kinds import KINDS, kind_of
from rootfs.recipe.scratch import DEBUG_SUFFIX
from rootfs.recipe.sections import Repository
from rootfs.recipe.validation import describe_errors
from rootfs.system.digests import canonical_digest
from rootfs.system.source_tree import is_file, list_entries, read_recipe_file, unsupported_entries

NOT_DIGESTED = {"description", "builder", "platforms", "fresh_within", "support"}


def find_recipe(name: str, *folders: Path) -> Path:
    """The file of the recipe that an image of this name is made by. Raises InputError with the nearest name."""
    known = _places(folders)
    place = known.get(name) or known.get(name.removesuffix(DEBUG_SUFFIX))
    if place is None or name not in images_of(path := Path(place)):
        raise unknown_recipe(name, listed(folders), list(known))
    return path


def recipe_files_by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipes of all folders by name. Raises InputError where images of two recipes have the same name."""
    return {name: Path(place) for name, place in _places(folders).items()}


def _places(folders: Sequence[Path]) -> dict[str, str]:
    found = recipe_places(folders)
    for name, place in found.items():
        debugged = found.get(name.removesuffix(DEBUG_SUFFIX), place) if name.endswith(DEBUG_SUFFIX) else place
        if debugged != place and name in images_of(Path(debugged)):
            raise same_name(name, Path(place), Path(debugged))
    return found


def image_names(*folders: Path, only: Iterable[str] = ()) -> list[str]:
    """The images of folders of recipes, or those named in `only`. Recipes are not checked.

    Raises InputError.
    """
    chosen = [name for name in only if find_recipe(name, *folders)]
    return chosen or [name for path in recipe_files_by_name(folders).values() for name in images_of(path)]


def images_of(path: Path) -> Iterator[str]:
    """The names of a recipe's images: its own, and that of the one for debugging."""
    yield path.stem
    try:
        data = read_recipe_file(path)
    except RecipeInvalid:  # reading the recipe reports it
        return
    if b"debug" in data and re.search(rb"^debug:\s*true\b", data, re.MULTILINE):
        yield f"{path.stem}{DEBUG_SUFFIX}"


def files_folder(path: Path) -> Path:
    """The folder beside a recipe's file that holds the files it names; a recipe without such files has none."""
    return path.parent / path.stem


def read_recipe(path: Path, image: str = "", folders: Sequence[Path] = (), *, pooled: bool = False) -> Recipe:
    """Read the recipe in a file, for its own `image` or for the one for debugging.

    Recipes that it names are looked for in the `folders`, or else beside it. Where it is `pooled`, what the store has
    need not be in the folder: a tarball, and the base images of a Dockerfile.
    Raises RecipeInvalid with everything that is wrong in it.
    """
    document = yaml.load_yaml(path)
    model = _model_of(document)
    wrong = []
    if "name" in document.values:
        wrong.append((document.key(("name",)), "unknown key 'name': a recipe has the name of its file"))
    try:
        recipe = model.model_validate({**document.values, "name": path.stem})
    except ValidationError as error:
        raise RecipeInvalid(wrong + describe_errors(error, document, model)) from None
    wrong.extend(_file_problems(recipe, document, files_folder(path), pooled=pooled))
    wrong.extend((document.place(key), why) for key, why in recipe.contradictions())
    wrong.extend((document.place(key), why) for key, why in base_image_problems(path, folders, pooled=pooled))
    if wrong:
        raise RecipeInvalid(wrong)
    return recipe.for_image(image)


def read_recipes(*folders: Path) -> list[Recipe]:
    """Every recipe of the folders, by name. Raises InputError, and RecipeInvalid with what is wrong in any of them."""
    recipes: list[Recipe] = []
    wrong: list[tuple[str, str]] = []
    for path in recipe_files_by_name(folders).values():
        try:
            recipes.append(read_recipe(path, folders=folders))
        except RecipeInvalid as error:
            wrong.extend(error.problems)
    if wrong:
        raise RecipeInvalid(wrong)
    return recipes


def digest_recipe(recipe: Recipe, folder: Path) -> str:
    """`sha256:HEX` of what a recipe says, defaults included, and of the files in its `folder` (see `files_folder`).

    Keys that change no bytes do not count: a better sentence makes no other image, nor does another builder. A tarball
    counts in the lock. Raises RecipeInvalid for a file that cannot be read.
    """
    content = recipe.model_dump(mode="json", by_alias=True, exclude=NOT_DIGESTED)
    archive = recipe.tarball.source if recipe.tarball else None
    files = list_entries(folder, but=archive) if recipe.digests_whole_folder or any(recipe.named_files()) else []
    return canonical_digest({"recipe": content, "files": files})


def lineage_of(recipe: Recipe, file: Path, folders: Sequence[Path] = ()) -> tuple[Recipe, ...]:
    """A recipe and those that its image is layered on, the lowest first, out of the folders, or that of its file.

    Raises RecipeInvalid, InputError.
    """
    found, folders = [recipe], folders_of(file, folders)
    while base := found[0].base_recipe:
        found.insert(0, read_recipe(find_recipe(base, *folders), folders=folders))
    return tuple(found)


def all_recipes_of(recipe: Recipe, file: Path, folders: Sequence[Path] = ()) -> tuple[Recipe, ...]:
    """The recipes of all base images of an image, also of those that a Dockerfile has, and its own, the last.

    Raises RecipeInvalid, InputError.
    """
    folders = folders_of(file, folders)
    below = (each for each in base_images_first([recipe.name], *folders) if each != recipe.name)
    return (*(read_recipe(find_recipe(each, *folders), each, folders) for each in below), recipe)


def request_of(lineage: Sequence[Recipe], file: Path, folders: Sequence[Path] = ()) -> tuple[AptRequest, Path] | None:
    """The request to apt for the last recipe of a lineage, whose file this is, and the folder of the files it names.

    None where the image has no packages.
    """
    recipe = lineage[-1]
    if len(lineage) > 1:
        files = {each.name: find_recipe(each.name, *folders_of(file, folders)) for each in lineage[:-1]}
        places = {name: os.path.relpath(files_folder(each), file.parent) for name, each in files.items()}
        asked = layered_request(lineage, places)
        return (asked, file.parent) if asked else None
    return (recipe.apt_request, files_folder(file)) if recipe.apt_request else None


def layered_request(lineage: Sequence[Recipe], places: Mapping[str, str] | None = None) -> AptRequest | None:
    """The request to apt for a layer, with the recipes of its base images; None if the image has no packages.

    Suites and settings are those of the lowest, components, archives and pins those of them all; what to include is the
    last's own.
    Paths of files are relative to the folder of the last recipe; `places` has the folders of base recipes' files, by
    recipe, where they are not beside it. What a base recipe excludes is installed if the last recipe
    includes it by name, but not as a dependency.
    """
    origin, last, places = lineage[0].apt_request, lineage[-1].added_packages, places or {}
    if origin is None or last is None:
        return None
    requests = [(each.name, each.added_packages) for each in lineage if each.added_packages]
    further = [name for each in lineage if isinstance(each, Packaged) for name in each.further_components]
    excluded = dict.fromkeys(name for _, each in requests for name in each.exclude)
    return origin.model_copy(
        update={
            "include": last.include,
            "exclude": tuple(name for name in excluded if name in last.exclude or name not in last.include),
            "recommends": last.recommends,
            "foreign_architectures": foreign_architectures(lineage, ""),
            "components": tuple(dict.fromkeys((*origin.components, *further))),
            "repositories": tuple(
                _with_folder(places.get(owner, owner), one) for owner, each in requests for one in each.repositories
            ),
            "pins": tuple(pin for _, each in requests for pin in each.pins),
            "lock": last.lock and f"{lineage[-1].name}/{last.lock}",
        }
    )


def repository_place(lineage: Sequence[Recipe], folders: Sequence[Path], archive: str, suite: str, key: str) -> str:
    """`file:line:column` of a key of the entry of `repositories` that names a suite of an archive; empty if none does.

    The recipes of the lineage are in the `folders`.
    """
    for recipe in lineage:
        asked = recipe.added_packages or recipe.apt_request
        for index, each in enumerate(asked.repositories if asked else ()):
            if canonical_address(each.uri) == canonical_address(archive) and suite in each.suites:
                at = (key, each.suites.index(suite)) if key == "suites" else (key,)
                return yaml.load_yaml(find_recipe(recipe.name, *folders)).place(("repositories", index, *at))
    return ""


def place_of_pin(lineage: Sequence[Recipe], folders: Sequence[Path], index: int) -> str:
    """`file:line:column` of a pin, by its place among all pins of the request for a lineage (see `request_of`).

    The recipes of the lineage are in the `folders`.
    """
    for recipe in lineage:
        asked = recipe.added_packages or recipe.apt_request
        count = len(asked.pins) if asked else 0
        if index < count:
            return yaml.load_yaml(find_recipe(recipe.name, *folders)).place(("pins", index))
        index -= count
    return ""


def place_of_value(lineage: Sequence[Recipe], folders: Sequence[Path], about: RecipeValue) -> str:
    """`file:line:column` of a value, in the last recipe of the lineage that has it below one of its keys.

    Empty where none has.
    """
    documents = [yaml.load_yaml(find_recipe(recipe.name, *folders)) for recipe in reversed(lineage)]
    for key in about.keys:
        for document in documents:
            for loc in document.places:
                if loc[:1] != ("pins",) and key in loc and document.at(loc) == about.value:
                    return document.place((*loc[:-1], about.beside) if about.beside else loc)
    return ""


def _with_folder(folder: str, repository: Repository) -> Repository:
    return repository.model_copy(update={"keyring": f"{folder}/{repository.keyring}"})


def _model_of(document: yaml.Document) -> type[Recipe]:
    kind = document.at(("kind",))
    if kind is None:
        raise RecipeInvalid([(document.place(("kind",)), f"key 'kind' is missing; it is one of {', '.join(KINDS)}")])
    if (known := kind_of(kind)) is None:
        hint = nearest(str(kind), KINDS) or f"It is one of {', '.join(KINDS)}."
        raise RecipeInvalid([(document.place(("kind",)), f"there is no such kind of recipe. {hint}")])
    return known.model


def _file_problems(recipe: Recipe, document: yaml.Document, folder: Path, *, pooled: bool) -> Iterator[tuple[str, str]]:
    """The files that a recipe names and that are not there, and mistakes in those that are."""
    if found := list(unsupported_entries(folder)):  # nothing there is opened
        yield from ((document.place(("files",)), f"{path} {why}") for path, why in found)
        return
    optional = recipe.optional_files(pooled=pooled)
    for place, source in recipe.named_files():
        if place[0] not in optional and not is_file(folder / source):
            yield document.place(place), f"there is no file {folder / source}"
    yield from _certificate_problems(recipe, document, folder)
    yield from recipe.file_problems(folder)


def _certificate_problems(recipe: Recipe, document: yaml.Document, folder: Path) -> Iterator[tuple[str, str]]:
    for index, file in enumerate(recipe.certificates):
        if is_file(folder / file):
            try:
                read_certificates(folder, [file])
            except ValueError as error:
                yield document.place(("certificates", index)), str(error)


def unknown_recipe(name: str, folder: object, known: Sequence[str]) -> InputError:
    """There is no recipe of this name."""
    there = f"There are: {', '.join(known)}." if known else "`--recipes DIR` names another folder."
    return InputError(f"there is no recipe {name!r} in {folder}", hint=nearest(name, known) or there)
