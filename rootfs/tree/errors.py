"""Errors of root filesystem trees."""

from __future__ import annotations

from rootfs.errors import BuildError, InputError


class BadTree(BuildError):
    """The bootstrapper's output is not a tree that can be packed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Build again; if that fails too, `baseforge log IMAGE` has what was printed.")


def cannot_place(path: str, reason: str) -> InputError:
    """A file of a recipe cannot be where it is to be."""
    return InputError(f"files: {path}: {reason}", hint="Change `files` in the recipe.")
