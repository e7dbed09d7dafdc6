"""The recipes that an image is layered on, and what apt is asked for with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rootfs.recipe.base import Origin, Recipe
from rootfs.recipe.recipe import find, folder_of, read
from rootfs.recipe.sections import Repository


def lineage_of(recipe: Recipe, file: Path) -> tuple[Recipe, ...]:
    """A recipe and those that its image is layered on, the lowest first, out of the folder of its file.

    Raises RecipeInvalid, UnknownRecipe.
    """
    found = [recipe]
    while base := found[0].base_recipe:
        found.insert(0, read(find(base, file.parent)))
    return tuple(found)


def request_of(lineage: Sequence[Recipe], file: Path) -> tuple[Origin, Path] | None:
    """What apt is asked for the last recipe of a lineage, whose file this is, and the folder of the files it names.

    None where the image has no packages.
    """
    recipe = lineage[-1]
    if len(lineage) > 1:
        asked = whole(lineage)
        return (asked, file.parent) if asked else None
    return (recipe.origin, folder_of(file)) if recipe.origin else None


def whole(lineage: Sequence[Recipe]) -> Origin | None:
    """What apt is to be asked for the last of a lineage of more than one; None where the image has no packages.

    Suites and settings are those of the lowest, archives and pins those of them all; what to include is the last's own.
    Files are named from the folder of recipes on. What one below excludes may be asked for, but does not come along.
    """
    origin, last = lineage[0].origin, lineage[-1].request
    if origin is None or last is None:
        return None
    requests = [(each.name, each.request) for each in lineage if each.request]
    excluded = dict.fromkeys(name for _, each in requests for name in each.exclude)
    return origin.model_copy(
        update={
            "include": last.include,
            "exclude": tuple(name for name in excluded if name in last.exclude or name not in last.include),
            "recommends": last.recommends,
            "repositories": tuple(_from(owner, one) for owner, each in requests for one in each.repositories),
            "pins": tuple(pin for _, each in requests for pin in each.pins),
            "lock": last.lock and f"{lineage[-1].name}/{last.lock}",
        }
    )


def _from(owner: str, repository: Repository) -> Repository:
    return repository.model_copy(update={"keyring": f"{owner}/{repository.keyring}"})
