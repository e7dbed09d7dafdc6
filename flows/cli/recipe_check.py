"""The command `baseforge validate`: all mistakes of all recipes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.cli.json_output import CheckedRecipe, RecipeProblem
from rootfs.errors import InputError, RecipeInvalid
from rootfs.recipe.base import Recipe
from rootfs.recipe.recipe import find_recipe, read_recipe, recipe_files_by_name

PLACE = re.compile(r"(?P<file>.*?)(?::(?P<line>\d+):(?P<column>\d+))?", re.DOTALL)
SECOND_SENTENCE = re.compile(r"(?<=.)\. (?=[A-Z`])")  # a mistake is one sentence; what follows says what to do


@dataclass(frozen=True)
class Checked:
    """An image's name, and its recipe or what is wrong with that."""

    name: str
    recipe: Recipe | None
    error: InputError | None = None

    def as_output(self) -> CheckedRecipe:
        """What `--json` prints."""
        problems = tuple(_problems(self.name, self.error)) if self.error else ()
        return CheckedRecipe(name=self.name, kind=self.recipe.kind if self.recipe else "", problems=problems)


def check_recipes(images: Sequence[str], folders: Sequence[Path]) -> list[Checked]:
    """Read the recipes of these images, or all of the folders."""
    try:
        paths = recipe_files_by_name(folders)
    except InputError as error:  # two have the same name
        return [Checked(Path(error.where).stem, None, error)]
    return [_check(name, paths.get(name), folders) for name in images or paths]


def raise_errors(checked: Sequence[Checked]) -> None:
    """Raise what is wrong in any of the recipes, all mistakes in one error."""
    errors = [each.error for each in checked if each.error]
    for error in errors:
        if not isinstance(error, RecipeInvalid):  # there is no such recipe
            raise error
    if problems := [problem for error in errors if isinstance(error, RecipeInvalid) for problem in error.problems]:
        raise RecipeInvalid(problems)


def _check(name: str, path: Path | None, folders: Sequence[Path]) -> Checked:
    try:
        return Checked(name, read_recipe(path or find_recipe(name, *folders), folders=folders))
    except InputError as error:
        return Checked(name, None, error)


def _problems(image: str, error: InputError) -> Iterator[RecipeProblem]:
    if not isinstance(error, RecipeInvalid):
        yield _problem(image, error.where, error.message, error.hint)
        return
    for place, sentence in error.problems:
        message, *rest = SECOND_SENTENCE.split(sentence, maxsplit=1)
        yield _problem(image, place, message, *rest)


def _problem(image: str, place: str, message: str, hint: str = "") -> RecipeProblem:
    found = PLACE.fullmatch(place)
    file, line, column = found.group("file", "line", "column") if found else (place, None, None)
    at = {"line": int(line) if line else None, "column": int(column) if column else None}
    return RecipeProblem(image=image, file=file, message=message, hint=hint, **at)
