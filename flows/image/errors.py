"""Errors of layers and of exported images."""

from __future__ import annotations

from rootfs.errors import BuildError, InputError


class LayerDamaged(BuildError):
    """A layer does not unpack to what its image says."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"layer {digest} is damaged: {reason}", hint="Build again; if it stays so, check the disk.")


class UnknownFormat(InputError):
    """The ending of a file's name says nothing about what to export."""

    def __init__(self, path: object) -> None:
        super().__init__(
            "the file's ending does not say what to export",
            where=str(path),
            hint="Use .tar.zst (root filesystem, compressed), .tar (plain) or .oci.tar (image, for `docker load`).",
        )
