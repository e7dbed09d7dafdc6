"""The options of one build; recipe and settings decide the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict


class BuildOptions(BaseModel):
    """Builder, bootstrapper and platforms instead of the recipe's own; `force` builds unchanged images.

    Where images are `named`, `force`, `publish` and `platforms` are for these alone, not for their base images. An
    `offline` build asks no archive: it takes the package lists and debs that are there. Without `publish` a build ends
    with its tests; base images are published, as images are only built on what the store has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")  # a misspelt word in a form is refused

    builder: str = ""
    engine: Literal["mmdebstrap", "debootstrap"] | None = None
    force: bool = False
    offline: bool = False
    publish: bool = True
    named: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()

    def forces(self, image: str) -> bool:
        """Whether this image is built even if it is unchanged."""
        return self.force and self._names(image)

    def publishes(self, image: str) -> bool:
        """Whether this image is published when it has passed its tests."""
        return self.publish or not self._names(image)

    def platforms_of(self, image: str, recipe: Sequence[str], own: str) -> tuple[str, ...]:
        """The platforms that an image is built for: the requested ones, the `recipe`'s, or the machine's `own`.

        Base images are built for their usual platforms and the requested ones.
        """
        usual = tuple(recipe) or (own,)
        if not self.platforms:
            return usual
        return self.platforms if self._names(image) else tuple(dict.fromkeys((*usual, *self.platforms)))

    def _names(self, image: str) -> bool:
        return not self.named or image in self.named
