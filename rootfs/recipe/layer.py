"""The kind `layer`: one more layer on the image of another recipe."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rootfs.recipe import types
from rootfs.recipe.base import Packaged


class LayerRecipe(Packaged):
    """Another recipe's image and one more layer."""

    base_image_keys: ClassVar[tuple[str, ...]] = ("from",)

    kind: Literal["layer"] = Field(description="one more layer on the image of another recipe")
    parent: types.Name = Field(alias="from", description="the recipe of the base image, in any folder of recipes")

    components: Annotated[tuple[types.Component, ...], *types.Distinct] = Field(
        default=(), description="components of the archive to use besides those of the base image's recipe"
    )

    @property
    def further_components(self) -> tuple[str, ...]:
        """Components of the distribution's archive that it uses besides those of its base image."""
        return self.components

    @property
    def base_recipe(self) -> str:
        """The recipe whose image this one adds a layer to."""
        return self.parent

    @property
    def adds_packages(self) -> bool:
        """Whether apt has to be asked at all."""
        return bool(self.include or self.lock)

    @property
    def host_tools(self) -> tuple[str, ...]:
        """Debian packages of this machine that make the layer."""
        return ("apt", "dpkg")
