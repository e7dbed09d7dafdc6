"""Errors of archives from elsewhere that cannot be read or are refused."""

from __future__ import annotations

from rootfs.errors import BuildError


class TarballRefused(BuildError):
    """The archive cannot be read, or has members that no root filesystem may have."""

    def __init__(self, message: str, hint: str = "Make the archive again, or get it again where it came from.") -> None:
        super().__init__(message, hint=hint)

    @classmethod
    def too_large(cls, largest: int) -> TarballRefused:
        """The tree is larger than the limit."""
        return cls(f"it unpacks to more than {largest} bytes", "If the tree needs more, raise `largest`.")

    @classmethod
    def too_many(cls, most: int) -> TarballRefused:
        """It has more members than the limit."""
        return cls(f"it has more than {most} members", "If it needs more, raise `most`.")

    @classmethod
    def of(cls, member: str, why: str) -> TarballRefused:
        """The reason is one member."""
        return cls(f"{member} {why}", f"`leave_out` with a pattern of /{member} makes the image without it.")
