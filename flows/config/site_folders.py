"""Where a site's settings and recipes are: named ones, else those of the current folder, else the shelf's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import rootfs
from flows.config.paths import SERVED
from rootfs.errors import InputError
from rootfs.recipe.base_images import recipe_paths
from rootfs.system.private import is_trusted, user_name

FILE = "baseforge.toml"
SHELF = Path(rootfs.__file__).parent.parent / "recipes"  # in a clone and in a wheel alike
SHELF_NAME = "shelf"  # what the setting `recipes` calls it
OPTION, VARIABLE = "--recipes", "BASEFORGE_RECIPES"


@dataclass(frozen=True)
class SiteFolders:
    """The file of settings, the folders of recipes, and who names these: the option, the variable, or nobody.

    What nobody names is looked up in the settings, else it is `usual`.
    """

    file: Path
    named: tuple[Path, ...] = ()
    origin: str = ""
    usual: tuple[Path, ...] = (SHELF,)


def find_site(option: Sequence[Path] = ()) -> SiteFolders:
    """The settings beside the first named folder of recipes, else in the current folder, else beside the shelf.

    A flow run of `baseforge serve` takes the folder that this was started in for the current one.
    Raises InputError where the current folder has settings or recipes of another user, or where the settings beside
    a named folder are neither a trusted user's nor those of the folder's owner.
    """
    current = Path(os.environ.get(SERVED, ""))
    if named := tuple(option) or split_folders(os.environ.get(VARIABLE, "")):
        file = (current / named[0]).absolute().parent / FILE
        folders = tuple(placed(each, current) for each in named)
        _require_owners([file], folders[0])
        return SiteFolders(file, folders, OPTION if option else VARIABLE)
    here, file = current / "recipes", (current / FILE).absolute()
    if not here.is_dir() and not os.path.lexists(file):
        return SiteFolders(SHELF.parent / FILE)
    if not (here.is_dir() and here.samefile(SHELF)):
        _require_trusted_owners(here, file)
    return SiteFolders(file, usual=(here,) if here.is_dir() else (SHELF,))


def split_folders(text: str) -> tuple[Path, ...]:
    """Folders in one text, with colons between them as in PATH."""
    return tuple(Path(each) for each in text.split(os.pathsep) if each)


def placed(folder: Path, start: Path) -> Path:
    """A named folder of recipes as seen from `start`; the shelf's own name is that of a folder only if there is one."""
    return SHELF if folder == Path(SHELF_NAME) and not (start / folder).exists() else start / folder


def existing_folders(folders: Iterable[Path], where: str) -> tuple[Path, ...]:
    """The folders, each once. Raises InputError for one that is not there; `where` is what names it.

    In a folder that several users can write to, each recipe must be a trusted user's, or that of the folder's owner.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"there is no folder of recipes {folder}",
                where=where,
                hint=f"Name a folder that exists; {SHELF_NAME!r} is the shelf that comes along.",
            )
        if not folder.samefile(SHELF):  # which is our own code
            recipes = list(recipe_paths(folder))
            _require_owners([*recipes, *(path.with_suffix("") for path in recipes)], folder)
        found.setdefault(folder.resolve(), folder)
    return tuple(found.values())


def _require_trusted_owners(here: Path, file: Path) -> None:
    """Check that the current folder, its recipes and its settings belong to trusted users.

    Recipes and settings say what is run, and where: another user who has them in a folder where we run a command would
    decide that. Beside the shelf is our own code, so whoever owns that decides it anyway.
    """
    for path, owner in _foreign([file.parent, here.absolute()]):
        raise recipes_foreign(path, owner, here.absolute())
    _require_owners([file], here)


def _require_owners(paths: Iterable[Path], folder: Path) -> None:
    """Check that each path that exists belongs to a trusted user, or to the owner of the `folder` of recipes.

    Who names a folder of another user trusts its owner, and nobody else who can write there or beside it.
    """
    owner = folder.stat().st_uid if folder.is_dir() else os.geteuid()
    for path, name in _foreign(paths, owner):
        raise file_foreign(path, name)


def _foreign(paths: Iterable[Path], *trusted: int) -> Iterator[tuple[Path, str]]:
    """The paths that belong to others than trusted users, with the owner's name."""
    for path in paths:
        with contextlib.suppress(OSError):  # reading it says what is wrong
            for status in (path.lstat(), path.stat()):  # a link and its target
                if not is_trusted(status.st_uid) and status.st_uid not in trusted:
                    yield path, user_name(status.st_uid)


def recipes_foreign(path: object, owner: str, recipes: Path) -> InputError:
    """The current folder or its recipes are another user's, and nobody has named them."""
    trusting = f"If you trust {owner}: --recipes {recipes}"
    return InputError(
        f"this belongs to {owner}: recipes and settings of another user are taken only where you name them",
        where=str(path),
        hint=trusting if recipes.is_dir() else "Work in another folder, or remove it.",
    )


def file_foreign(path: Path, owner: str) -> InputError:
    """A file of settings or a recipe is neither a trusted user's nor that of the owner of the folder of recipes."""
    return InputError(
        f"this belongs to {owner}, who owns neither the folder of recipes nor this command: it is not taken",
        where=str(path),
        hint="If you trust it, replace it by a copy of your own. Keep recipes where no other user can write.",
    )
