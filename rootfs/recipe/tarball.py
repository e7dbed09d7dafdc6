"""The kind `tarball`: a root filesystem in an archive that somebody else has made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from rootfs.recipe.base import Recipe
from rootfs.recipe.sections import Key, TarballKeys, is_address


class TarballRecipe(TarballKeys, Recipe):
    """A root filesystem that somebody else packed, checked and packed again."""

    installs_certificates: ClassVar[bool] = False

    kind: Literal["tarball"] = Field(description="a root filesystem in a tar archive, of any distribution")

    @field_validator("platforms")
    @classmethod
    def _one_platform(cls, platforms: tuple[str, ...]) -> tuple[str, ...]:
        if len(platforms) > 1:
            raise ValueError("an archive is for one platform: write a recipe for each")
        return platforms

    @property
    def tarball(self) -> TarballKeys:
        """The archive that the image is made of."""
        return self

    @property
    def keeps_devices(self) -> bool:
        """Whether /dev keeps the usual devices."""
        return self.devices

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from super().named_files()
        sources = {"source": self.source, "signature": self.signature, "keyring": self.keyring}
        yield from (((key,), file) for key, file in sources.items() if file and not is_address(file))

    def optional_files(self, *, pooled: bool) -> set[str]:
        """Keys whose files need not be in the folder: an archive with a sha256 may be in the pool."""
        return {"source"} if pooled or self.sha256 else set()
