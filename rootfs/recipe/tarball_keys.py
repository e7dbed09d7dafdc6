"""The keys that say which archive an image is made of, who signs it, and what of it may be in the image."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from rootfs.recipe import types
from rootfs.recipe.sections import Part

TARBALL = "tarball"  # what the archive is called in a work folder
LARGEST = 8 << 30  # bytes unpacked
MOST = 250_000  # members


def is_address(source: str) -> bool:
    """Whether a source is an address, not a file."""
    return source.startswith(("http://", "https://"))


class TarballKeys(Part):
    """An archive with a root filesystem."""

    source: types.Source = Field(
        description="a root filesystem as tar, plain or compressed: a file of the recipe's folder, or an address"
    )
    sha256: types.Sha256 | None = Field(
        default=None, description="what the archive's bytes must hash to, in hex; an address needs it"
    )
    signature: types.Source | None = Field(
        default=None, description="a detached OpenPGP signature of the archive, as it is found or published"
    )
    keyring: types.Inside | None = Field(
        default=None, description="the file in the recipe's folder that the signature is checked with"
    )
    leave_out: Annotated[tuple[types.PathGlob, ...], *types.Distinct] = Field(
        default=(), description="patterns of paths that are left out, as dpkg's path-exclude"
    )
    setuid: Annotated[tuple[types.PathGlob, ...], *types.Distinct] = Field(
        default=(), description="patterns of files that may be set-uid or set-gid; any other is refused"
    )
    devices: bool = Field(
        default=False, description="whether /dev keeps the usual devices (null, zero, full, random, urandom, tty, …)"
    )
    epoch: int | None = Field(
        default=None,
        ge=0,
        lt=1 << 32,
        description="how new the image is, in seconds since 1970, instead of its newest member's time",
    )
    largest: int = Field(default=LARGEST, ge=1, lt=1 << 62, description="bytes that the archive may have unpacked")
    most: int = Field(default=MOST, ge=1, lt=1 << 62, description="members that the archive may have")

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        if is_address(self.source) and self.sha256 is None:
            raise ValueError("a 'source' that is an address needs 'sha256': what is there may change")
        if (self.signature is None) != (self.keyring is None):
            raise ValueError("'signature' and 'keyring' go together: one is checked with the other")
        return self
