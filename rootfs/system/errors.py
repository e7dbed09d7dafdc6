"""Errors of the disk, of folders, locks and documents on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from rootfs.errors import BuildError, InputError, MachineError, nearest


class DiskFull(BuildError):
    """No space is left where a file was being written; nothing half-written is left."""

    transient = True

    def __init__(self, folder: object) -> None:
        super().__init__(
            f"no space is left in {folder}",
            hint="Free some, or name another folder: BASEFORGE_HOME has the logs, the cache and the server's database; "
            "`store`, `work` and `memory` are settings; TMPDIR is for the rest.",
        )


NEWER = "It was written by a newer version of Baseforge: update this one."


class FormatNewer(MachineError):
    """A document on this machine has a newer format than this version knows."""

    def __init__(self, what: str, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{what} cannot be read: it has format {found}, and this version knows format {known}",
            where=where,
            hint=NEWER,
        )


class FolderForeign(MachineError):
    """A folder that must be this user's alone is somebody else's."""

    def __init__(self, folder: object, owner: str) -> None:
        super().__init__(
            f"this folder belongs to {owner}, and you are not that user",
            where=str(folder),
            hint="With sudo: sudo -H. Or name another as the data folder: BASEFORGE_HOME.",
        )


class LockHeld(MachineError):
    """Another process holds a lock for longer than we wait. `holder` says which, as far as that is known."""

    def __init__(self, path: object, seconds: float, holder: str) -> None:
        super().__init__(
            f"this lock was not free within {seconds:g} s: {holder} holds it",
            where=str(path),
            hint="Wait until that process ends, or end it; then try again.",
        )


class UnknownPlatform(InputError):
    """A platform that images cannot be made for."""

    def __init__(self, platform: str, known: Iterable[str]) -> None:
        names = list(known)
        hint = nearest(platform, names) or f"It is one of {', '.join(names)}."
        super().__init__(f"no image can be made for platform {platform!r}", hint=hint)


def cannot_write(path: object, reason: str) -> InputError:
    """The file to export to cannot be written."""
    return InputError(f"cannot be written: {reason}", where=str(path), hint="Name a file where you may write.")
