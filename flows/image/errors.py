"""Errors of layers and of exported images."""

from __future__ import annotations

from rootfs.errors import BuildError


class LayerDamaged(BuildError):
    """A layer cannot be decompressed, or its tar does not have the diff id of its image."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"layer {digest} is damaged: {reason}", hint="Build again; if it stays so, check the disk.")
