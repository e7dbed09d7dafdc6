"""The files of recipes: one folder, or several that make one set of images, whose names differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rootfs.errors import InputError
from rootfs.system.source_tree import is_file

SUFFIXES = (".yaml", ".yml")


def recipe_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipes of all folders by the image's name, sorted. Raises InputError where two have the same name."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in _files_in(folder)):
        if path.stem in found:
            raise same_name(path.stem, found[path.stem], path)
        found[path.stem] = path
    return dict(sorted(found.items()))


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


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))


def same_name(name: str, first: Path, second: Path) -> InputError:
    """Two recipes make images of one name, so each build of one would replace the other's."""
    return InputError(
        f"the image {name!r} is also that of {second}", where=str(first), hint="Rename or remove one of the two files."
    )
