"""What a person may choose for one build; the rest the recipe and the site decide."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Choice(BaseModel):
    """Builder and engine instead of the recipe's own, `force` to build what is unchanged, `publish` or only test.

    An `offline` build asks no archive: it takes the package lists and debs that are there.
    """

    model_config = ConfigDict(frozen=True)

    builder: str = ""
    engine: Literal["mmdebstrap", "debootstrap"] | None = None
    force: bool = False
    offline: bool = False
    publish: bool = True
