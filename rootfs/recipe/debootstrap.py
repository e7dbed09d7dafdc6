"""The kind `debootstrap`: a tree of packages from a Debian or Ubuntu archive."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from rootfs.errors import InputError
from rootfs.recipe.base import AptRequest, Packaged, Recipe
from rootfs.recipe.sections import AptSources

TOOLS = {"mmdebstrap": ("apt", "dpkg", "mmdebstrap"), "debootstrap": ("apt", "debootstrap", "dpkg")}
DEBOOTSTRAP_VARIANTS = ("minbase", "buildd", "important")


class _Bootstrapped(Recipe):
    kind: Literal["debootstrap"] = Field(description="a tree of packages from a Debian or Ubuntu archive")
    engine: Literal["mmdebstrap", "debootstrap"] = Field(
        default="mmdebstrap", description="the program that makes the tree"
    )


# Keys come in the order of the bases from last to first: what an editor and an error show.
class DebootstrapRecipe(Packaged, AptRequest, _Bootstrapped):
    """A Debian or Ubuntu tree, made of packages from the distribution's own archive."""

    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard"] = Field(
        default="minbase",
        description="which packages to start from, few to many; debootstrap knows only minbase, buildd and important",
    )

    apt_sources: AptSources = Field(
        default_factory=AptSources, description="what apt in the image may install later, whatever the image is made of"
    )

    @field_validator("variant")
    @classmethod
    def _known_to_bootstrapper(cls, variant: str, info: ValidationInfo) -> str:
        if info.data.get("engine") == "debootstrap" and variant not in DEBOOTSTRAP_VARIANTS:
            raise ValueError(f"engine debootstrap has no variant {variant!r}, only {', '.join(DEBOOTSTRAP_VARIANTS)}")
        return variant

    @property
    def apt_request(self) -> AptRequest:
        """What apt is asked for."""
        return self

    @property
    def named_components(self) -> tuple[str, ...]:
        """Components of the distribution's archive that it names for apt in the image alone."""
        return self.apt_sources.components or ()

    @property
    def host_tools(self) -> tuple[str, ...]:
        """Debian packages of this machine that make the tree."""
        return TOOLS[self.engine]

    def with_bootstrapper(self, name: str) -> DebootstrapRecipe:
        """The recipe with another program that makes the tree. Raises InputError."""
        if name == "debootstrap" and self.variant not in DEBOOTSTRAP_VARIANTS:
            raise InputError(
                f"{self.name}: engine {name} has no variant {self.variant!r}",
                hint="Leave `--engine` out, or change `variant`.",
            )
        return self.model_copy(update={"engine": name})
