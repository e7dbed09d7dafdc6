"""What a person may choose for one build; the rest the recipe and the site decide."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Choice(BaseModel):
    """Builder and engine instead of the recipe's own, `force` to build what is unchanged, `publish` or only test.

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

    def forces(self, image: str) -> bool:
        """Whether this image is built even if it is unchanged."""
        return self.force and (not self.named or image in self.named)
