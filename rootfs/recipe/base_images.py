"""The files of recipes in one or several folders, the base images that they name, and the order to build them in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from rootfs.errors import InputError, RecipeInvalid, nearest
from rootfs.recipe import yaml
from rootfs.recipe.kinds import KINDS, kind_of
from rootfs.system.source_tree import is_file, read_recipe_file

Key = tuple[str, ...]
FROM: Key = ("from",)
SUFFIXES = (".yaml", ".yml")
OTHER_FOLDERS = (
    'Recipes of other folders can be named too: `recipes = ["recipes", "shelf"]` in baseforge.toml adds those that '
    "come along."
)


def recipe_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipes of all folders by the image's name, sorted. Raises InputError where two have the same name."""
    return {name: Path(place) for name, place in recipe_places(folders).items()}


def recipe_places(folders: Sequence[Path]) -> dict[str, str]:
    """The same as text, which is quick to make: a night looks up each of a thousand recipes.

    Raises InputError where two have the same name.
    """
    found: dict[str, str] = {}
    for folder in folders:
        entries, start = _entries(folder), str(folder)
        for suffix in SUFFIXES:
            for entry in entries:
                if entry.endswith(suffix):
                    name, place = entry.removesuffix(suffix), f"{start}/{entry}"
                    if name in found:
                        raise same_name(name, Path(found[name]), Path(place))
                    found[name] = place
    return dict(sorted(found.items()))


def _entries(folder: Path) -> list[str]:
    """The names in a folder, with what ends as a recipe does; none if the folder cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.endswith(SUFFIXES)]
    return []


def recipe_paths(folder: Path) -> list[Path]:
    """The files of recipes in a folder."""
    return [folder / entry for entry in _entries(folder)]


def recipe_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of the recipe of this name; None where no folder has one."""
    places = (folder / f"{name}{suffix}" for folder in folders for suffix in SUFFIXES)
    return next((path for path in places if is_file(path)), None)


def folders_of(file: Path, folders: Sequence[Path]) -> Sequence[Path]:
    """The folders of the recipes that this one may name: its own alone where no others are given."""
    return folders or (file.parent,)


def listed(folders: Sequence[Path]) -> str:
    """Folders in a sentence."""
    return " and ".join(map(str, folders))


def same_name(name: str, first: Path, second: Path) -> InputError:
    """Two recipes make images of one name, so each build of one would replace the other's."""
    return InputError(
        f"the image {name!r} is also that of {second}", where=str(first), hint="Rename or remove one of the two files."
    )


def base_images_of(file: Path) -> dict[Key, str]:
    """The names of a recipe's base images, by the key that names each; none where there is no file.

    A layer is `from` one, a Dockerfile has `contexts`. Raises RecipeInvalid for what is no YAML.
    """
    if not is_file(file):
        return {}
    data = read_recipe_file(file)  # YAML takes milliseconds to read, and most recipes are of a kind without base images
    if not any(name.encode() in data for name, kind in KINDS.items() if kind.model.base_image_keys):
        return {}
    document = yaml.load_yaml(file)
    kind = kind_of(document.at(("kind",)))
    named: dict[Key, object] = {}
    for key in kind.model.base_image_keys if kind else ():
        value = document.at((key,))
        named |= {(key, each): name for each, name in value.items()} if isinstance(value, dict) else {(key,): value}
    return {key: name for key, name in named.items() if isinstance(name, str)}


def lineage_files(file: Path, folders: Sequence[Path] = ()) -> list[Path]:
    """The files of a recipe and of those that it is `from`, itself first; a missing file ends the list.

    Other recipes are looked for in the `folders`, or else beside the file. Raises RecipeInvalid.
    """
    files, folders = [file], folders_of(file, folders)
    while (name := base_images_of(files[-1]).get(FROM)) and (base := recipe_file(name, folders)) not in (None, *files):
        files.append(cast(Path, base))
    return files


def base_image_problems(file: Path, folders: Sequence[Path] = (), *, pooled: bool = False) -> Iterator[tuple[Key, str]]:
    """The keys that name what cannot be a base image, each with the reason in a sentence. Raises RecipeInvalid.

    Other recipes are looked for in the `folders`, or else beside the file. Where it is `pooled`, images come out of the
    store, and only the recipe that a layer is `from` is looked at.
    """
    folders = folders_of(file, folders)
    for key, name in base_images_of(file).items():
        if pooled and key != FROM:
            continue
        base_file = recipe_file(name, folders)
        if circle := _find_circle(name, folders, (file.stem,)):
            yield key, f"an image cannot build on itself: {' is from '.join(circle)}"
        elif base_file is None:
            known = [each for each in recipe_files(folders) if each != file.stem]
            yield key, f"there is no recipe {name!r} in {listed(folders)}. {nearest(name, known) or OTHER_FOLDERS}"
        elif why := (_cannot_take_layers(base_file) if key == FROM else "") or _missing_platforms(file, base_file):
            yield key, why


def base_images_first(names: Iterable[str], *folders: Path) -> list[str]:
    """The images with their base images, each after its own base images; an invalid recipe counts as one without."""
    return list(base_images_by_image(names, *folders))


def base_images_by_image(names: Iterable[str], *folders: Path) -> dict[str, tuple[str, ...]]:
    """The base images that each image names, of these images and of their base images, in the order to build them in.

    An invalid recipe counts as one without base images. A base image counts although its own recipe is no YAML.
    """
    found: dict[str, tuple[str, ...]] = {}
    begun: set[str] = set()

    def add(name: str) -> None:
        if name not in begun:
            begun.add(name)
            base_images = _valid_base_images(recipe_file(name, folders), folders)
            for each in base_images:
                add(each)
            found[name] = tuple(each for each in base_images if each in found)  # the others would make a circle

    for name in names:
        add(name)
    return found


def _valid_base_images(file: Path | None, folders: Sequence[Path]) -> tuple[str, ...]:
    try:
        base_images = tuple(base_images_of(file).values()) if file else ()
    except RecipeInvalid:
        return ()
    try:
        return () if file is None or any(base_image_problems(file, folders)) else base_images
    except RecipeInvalid:  # of a base image
        return base_images


def _find_circle(name: str, folders: Sequence[Path], line: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a circle that leads from the recipes of `line` back to one of them; none where there is none."""
    line = (*line, name)
    if name in line[:-1]:
        return line
    file = recipe_file(name, folders)
    circles = (_find_circle(each, folders, line) for each in (base_images_of(file) if file else {}).values())
    return next(filter(None, circles), ())


def _missing_platforms(file: Path, base_file: Path) -> str:
    """Why an image cannot be for the platforms that it names, in a sentence; empty where it can, or names none."""
    own, there = (_as_list(yaml.load_yaml(each).at(("platforms",))) for each in (file, base_file))
    if lacking := [str(each) for each in own if each not in there]:
        return f"{base_file.stem!r} is not for {', '.join(lacking)}: name the same there, in `platforms`"
    return ""


def _as_list(value: object) -> Sequence[object]:
    """The items of a list; none where it is no list, which reading the recipe reports."""
    return value if isinstance(value, list | tuple) else ()


def _cannot_take_layers(base_file: Path) -> str:
    """Why no packages can be installed on an image, in a sentence; empty where they can."""
    document = yaml.load_yaml(base_file)
    kind = kind_of(name := document.at(("kind",)))
    if kind is None or not kind.model.takes_layers:
        return f"{base_file.stem!r} is of kind {name}, on which no packages can be installed"
    if document.at(("package_manager",)) == "remove":
        return f"{base_file.stem!r} has no package manager any more, so nothing can be installed on it"
    return ""
