"""Which images one is made of, as far as their recipes' files say so: whole recipes are read later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rootfs import reader
from rootfs.errors import RecipeInvalid, nearest

DOCKERFILE = "dockerfile"


def parents_of(file: Path) -> dict[str, str]:
    """The recipes whose images this one is made of, each with the place that names it.

    Raises RecipeInvalid for what is no YAML.
    """
    if DOCKERFILE.encode() not in file.read_bytes():  # YAML takes milliseconds to read, and most recipes have none
        return {}
    document = reader.load(file)
    named = document.at(("contexts",)) if document.at(("kind",)) == DOCKERFILE else None
    pairs = named.items() if isinstance(named, dict) else ()
    return {name: document.place(("contexts", key)) for key, name in pairs if isinstance(name, str)}


def check_parents(file: Path, line: tuple[str, ...] = ()) -> None:
    """See that a recipe's parents are there, and theirs, and none of them itself. Raises RecipeInvalid."""
    line = (*line, file.stem)
    for name, place in parents_of(file).items():
        if name in line:
            raise RecipeInvalid([(place, f"an image cannot be made of itself: {' needs '.join((*line, name))}")])
        parent = file.with_name(f"{name}.yaml")
        if not parent.is_file():
            known = [path.stem for path in file.parent.glob("*.yaml") if path != file]
            raise RecipeInvalid([(place, f"there is no recipe {name!r}. {nearest(name, known)}".rstrip())])
        check_parents(parent, line)


def parents_first(names: Iterable[str], folder: Path) -> list[str]:
    """The images, each after those it is made of, which come along; a recipe that cannot be read has none."""
    return list(dict.fromkeys(each for name in names for each in _line(folder / f"{name}.yaml")))


def _line(file: Path, below: tuple[str, ...] = ()) -> Iterator[str]:
    try:
        parents = parents_of(file)
    except RecipeInvalid:
        parents = {}
    for name in parents:
        parent = file.with_name(f"{name}.yaml")
        if name not in below and parent.is_file():
            yield from _line(parent, (*below, file.stem))
    yield file.stem
