"""The registry of recipe kinds.

A new kind is one module, which defines its model (a subclass of `Recipe`) and what makes its tree, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rootfs.recipe.base import Recipe
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.dockerfile import DockerfileRecipe
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.scratch import ScratchRecipe
from rootfs.recipe.tarball import TarballRecipe


@dataclass(frozen=True)
class Kind:
    """The model of a kind's recipes, and the function that makes their trees (a `Bootstrapper`).

    `bootstrapper` is "module:function", which is imported when a tree is made. It is empty where a builder makes the
    layers.
    """

    model: type[Recipe]
    bootstrapper: str = ""


KINDS: dict[str, Kind] = {
    "debootstrap": Kind(DebootstrapRecipe, "rootfs.bootstrap.debian:open_tree"),
    "scratch": Kind(ScratchRecipe, "rootfs.scratch.bootstrapper:open_tree"),
    "tarball": Kind(TarballRecipe, "rootfs.bootstrap.tarball:open_tree"),
    "layer": Kind(LayerRecipe, "rootfs.bootstrap.debian:open_layer_tree"),
    "dockerfile": Kind(DockerfileRecipe),
}


def needs_builder(recipe: Recipe) -> bool:
    """Whether a builder makes the layers of its image, not a bootstrapper."""
    return not KINDS[recipe.kind].bootstrapper


def kind_of(name: object) -> Kind | None:
    """The kind that a recipe's `kind` names; None where there is none of this name."""
    return KINDS.get(name) if isinstance(name, str) else None
