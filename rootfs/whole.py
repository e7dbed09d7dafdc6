"""A layer's recipe together with those it stands on: where its packages come from is what the lowest of them says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rootfs.common import Packaged
from rootfs.parts import Repository
from rootfs.recipe import DebootstrapRecipe, Recipe, find, read


def lineage_of(recipe: Recipe, file: Path) -> tuple[Packaged, ...]:
    """A recipe of packages and those it stands on, the lowest first, out of the folder of its file; none of others.

    Raises RecipeInvalid, UnknownRecipe.
    """
    found: list[Packaged] = []
    while isinstance(recipe, Packaged):
        found.insert(0, recipe)
        if isinstance(recipe, DebootstrapRecipe):
            break
        recipe = read(find(recipe.parent, file.parent))
    return tuple(found)


def whole(lineage: Sequence[Packaged]) -> DebootstrapRecipe:
    """What apt is to be asked for the last of a lineage of more than one.

    Suites and settings are those of the lowest, archives and pins those of them all; what to include is the last's own.
    Files are named from the folder of recipes on. What one below excludes may be asked for, but does not come along.
    """
    lowest, last = lineage[0], lineage[-1]
    assert isinstance(lowest, DebootstrapRecipe)  # noqa: S101 - lineage_of ends there
    excluded = dict.fromkeys(name for each in lineage for name in each.exclude)
    return lowest.model_copy(
        update={
            "name": last.name,
            "include": last.include,
            "exclude": tuple(name for name in excluded if name in last.exclude or name not in last.include),
            "recommends": last.recommends,
            "repositories": tuple(_from(each.name, one) for each in lineage for one in each.repositories),
            "pins": tuple(pin for each in lineage for pin in each.pins),
            "lock": last.lock and f"{last.name}/{last.lock}",
        }
    )


def _from(owner: str, repository: Repository) -> Repository:
    return repository.model_copy(update={"keyring": f"{owner}/{repository.keyring}"})
