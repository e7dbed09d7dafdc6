"""Errors of packages and tarballs that are fetched or kept in the pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import BaseforgeError, BuildError, InputError


def no_archive(source: str, reason: str, hint: str = "") -> InputError:
    """A tarball is missing or cannot be read."""
    return InputError(
        f"this archive cannot be had: {reason}",
        where=source,
        hint=hint or "Correct the file's name or address, or put the archive there.",
    )


def another_archive(source: str, expected: str, found: str) -> BuildError:
    """A tarball has another digest than expected."""
    return BuildError(
        f"this is another archive than expected: its sha256 is {found}, not {expected}",
        where=source,
        hint="If this is a newer one and you trust it, put its sha256 into the recipe (or after --sha256).",
    )


def source_unsigned(source: str, keyring: object, reasons: Iterable[str]) -> BuildError:
    """The signature of a tarball is not valid for its bytes, or not by a key of its keyring."""
    found = ", ".join(reasons)
    return BuildError(
        "its signature is none of the keyring's keys for these bytes" + (f" (found: {found})" if found else ""),
        where=source,
        hint=f"Compare the key with the one that the distribution publishes; the keyring is {keyring}.",
    )


class DebGone(ArchiveMoved):
    """The archive no longer has a deb of the lock."""

    def __init__(self, deb: str, address: str) -> None:
        BaseforgeError.__init__(
            self,
            f"the archive no longer has {deb}",
            where=address,
            hint="Build again for a newer lock; a committed lock needs a pool or a snapshot that still has its debs.",
        )


class DebMismatch(BuildError):
    """A mirror sent, twice, other bytes than those of the deb in the lock."""

    def __init__(self, deb: str, expected: str, found: str, address: str) -> None:
        super().__init__(
            f"this is not {deb}: {expected} was expected, {found} came; "
            "the mirror serves something else than its signed index says",
            where=address,
            hint="Name another mirror ([mirrors] in baseforge.toml), or look for a proxy that changes files.",
        )
        self.found = found


def missing_debs(debs: Sequence[str]) -> BuildError:
    """The pool lacks debs, and they must not be downloaded."""
    more = f" and {len(debs) - 5} more" if len(debs) > 5 else ""
    return BuildError(
        f"the pool lacks {', '.join(debs[:5])}{more}",
        hint="Build once without `--offline`, or name the store that has them.",
    )


def damaged_debs(debs: Sequence[tuple[str, str, str]]) -> BuildError:
    """Debs of the pool are damaged or missing, and could not be replaced; `debs` are (name, digest, reason)."""
    lines = [f"{name} ({digest}): {why}" for name, digest, why in debs[:10]]
    more = [f"… and {len(debs) - 10} more"] if len(debs) > 10 else []
    return BuildError(
        "\n  ".join([f"{len(debs)} of the pool's debs cannot be used:", *lines, *more]),
        hint="Put a copy from another store in place, or `baseforge build` for a newer lock.",
    )


class BadDeb(BuildError):
    """A deb has the right digest, but cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} is not a deb we can read: {reason}", hint="Report it to the archive it comes from.")
