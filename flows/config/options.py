"""What a person may choose for one build; the rest the recipe and the site decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Choice(BaseModel):
    """Builder, engine and platforms instead of the recipe's own, `force` to build what is unchanged, `publish` or test.

    Where images are `named`, `force` is meant for these alone, not for those that they stand on. An `offline` build
    asks no archive: it takes the package lists and debs that are there.
    """

    model_config = ConfigDict(frozen=True)

    builder: str = ""
    engine: Literal["mmdebstrap", "debootstrap"] | None = None
    force: bool = False
    offline: bool = False
    publish: bool = True
    named: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()

    def forces(self, image: str) -> bool:
        """Whether this image is built even if it is unchanged."""
        return self.force and self._means(image)

    def platforms_of(self, image: str, said: Sequence[str], own: str) -> tuple[str, ...]:
        """What an image is built for, where its recipe has `said` so and the machine is `own`.

        One that is only stood on is built for what it always is, and what is chosen besides.
        """
        usual = tuple(said) or (own,)
        if not self.platforms:
            return usual
        return self.platforms if self._means(image) else tuple(dict.fromkeys((*usual, *self.platforms)))

    def _means(self, image: str) -> bool:
        return not self.named or image in self.named
