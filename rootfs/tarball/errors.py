"""Errors of archives from elsewhere that cannot be read or are refused."""

from __future__ import annotations

from rootfs.errors import BuildError


class TarballRefused(BuildError):
    """An archive that cannot be read, or that holds what no root filesystem may hold."""

    def __init__(self, message: str, hint: str = "Make the archive again, or get it again where it came from.") -> None:
        super().__init__(message, hint=hint)

    @classmethod
    def too_large(cls, largest: int) -> TarballRefused:
        """More comes out than may."""
        return cls(f"it unpacks to more than {largest} bytes", "If the tree needs more, raise `largest`.")

    @classmethod
    def too_many(cls, most: int) -> TarballRefused:
        """It has more members than it may."""
        return cls(f"it has more than {most} members", "If it needs more, raise `most`.")

    @classmethod
    def of(cls, member: str, why: str) -> TarballRefused:
        """What one member is or does."""
        return cls(f"{member} {why}", f"`leave_out` with a pattern of /{member} makes the image without it.")
