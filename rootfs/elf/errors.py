"""Errors of programs and libraries in a tree."""

from __future__ import annotations

from rootfs.errors import BuildError


def other_architecture(found: str, architecture: str, source: str) -> BuildError:
    """The programs of an archive or an image are for another machine."""
    return BuildError(
        f"the programs in it are for {found}, and the image is for {architecture}",
        where=source,
        hint=f"Get, or make, the same for {architecture}.",
    )


def missing_libraries(image: str, missing: list[tuple[str, str]]) -> BuildError:
    """Files of an image do not find what they are linked with."""
    lines = [f"{what}, which is in the package {package}" if package else what for what, package in missing]
    more = [f"… and {len(lines) - 10} more"] if len(lines) > 10 else []
    return BuildError(
        f"{image}: libraries are missing in the image",
        output="\n".join([*lines[:10], *more]),
        hint="Add them, leave the files out, or name in `unlinked` what nothing runs there.",
    )
