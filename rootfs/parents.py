"""Which recipe another one is `from`, as far as their files say so: whole recipes are read later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rootfs import reader
from rootfs.errors import RecipeInvalid, nearest

LAYER = "layer"
CARRIERS = ("debootstrap", LAYER)  # kinds with packages that more can be installed beside


def parent_of(file: Path) -> str:
    """The name that a layer's recipe is `from`; empty for other recipes, and where the file does not say it.

    Raises RecipeInvalid for what is no YAML.
    """
    if LAYER.encode() not in file.read_bytes():  # YAML takes milliseconds to read, and most recipes are no layers
        return ""
    document = reader.load(file)
    name = document.at(("from",))
    return name if document.at(("kind",)) == LAYER and isinstance(name, str) else ""


def lineage(file: Path) -> list[Path]:
    """The files of the recipes that one stands on, itself first; where they lead back to one of them, that is the last.

    Raises RecipeInvalid; one that is not there ends it.
    """
    files = [file]
    while files[-1].is_file() and (name := parent_of(files[-1])):
        files.append(file.with_name(f"{name}.yaml"))
        if files[-1] in files[:-1]:
            break
    return files


def wrong_parent(file: Path) -> str:
    """Why a layer's recipe cannot be `from` what it says, in a sentence; empty where it can. Raises RecipeInvalid."""
    files = lineage(file)
    names = [each.stem for each in files]
    if names[-1] in names[:-1]:
        return f"a layer cannot stand on itself: {' is from '.join(names)}"
    parent = files[1]
    if not parent.is_file():
        known = [path.stem for path in parent.parent.glob("*.yaml") if path != file]
        return f"there is no recipe {parent.stem!r} in {parent.parent}. {nearest(parent.stem, known)}".rstrip()
    document = reader.load(parent)
    if (kind := document.at(("kind",))) not in CARRIERS:
        return f"{parent.stem!r} is of kind {kind}, on which no packages can be installed"
    if document.at(("package_manager",)) == "remove":
        return f"{parent.stem!r} has no package manager any more, so nothing can be installed on it"
    return ""


def parents_first(names: Iterable[str], folder: Path) -> list[str]:
    """The images, each after those it stands on, which come along; a recipe that cannot be has none."""
    return list(dict.fromkeys(each for name in names for each in _line(folder / f"{name}.yaml")))


def _line(file: Path) -> Iterator[str]:
    try:
        files = lineage(file)
    except RecipeInvalid:
        files = []
    if len(files) != len(set(files)) or not all(path.is_file() for path in files):
        files = []
    yield from (path.stem for path in reversed(files or [file]))
