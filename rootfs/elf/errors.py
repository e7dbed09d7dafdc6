"""Errors of programs and libraries in a tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rootfs.errors import BuildError

SHOWN = 5  # files that the hint names
PLAIN = re.compile(r"[A-Za-z0-9/._+@~-]+")  # paths that are patterns, and need no quotes in YAML


def other_architecture(found: str, architecture: str, source: str) -> BuildError:
    """The programs of an archive or an image are for another machine."""
    return BuildError(
        f"the programs in it are for {found}, and the image is for {architecture}",
        where=source,
        hint=f"Get, or make, the same for {architecture}.",
    )


def missing_libraries(image: str, missing: Sequence[tuple[str, str, str]]) -> BuildError:
    """Files of an image do not find what they are linked with: file, what is missing, and the package that has it."""
    lines = [f"{what}, which is in the package {package}" if package else what for _, what, package in missing]
    more = [f"… and {len(lines) - 10} more"] if len(lines) > 10 else []
    return BuildError(
        f"{image}: libraries are missing in the image",
        output="\n".join([*lines[:10], *more]),
        hint=" ".join(_ways_out([file for file, _, _ in missing], [package for _, _, package in missing if package])),
    )


def _ways_out(files: Iterable[str], packages: Iterable[str]) -> Iterator[str]:
    """What to do, with lines to paste into the recipe."""
    named = list(dict.fromkeys(packages))
    yield f"Add the packages: {', '.join(named)}." if named else "Add them, or leave the files out."
    paths = list(dict.fromkeys(f"/{file}" for file in files))
    if len(paths) <= SHOWN and all(map(PLAIN.fullmatch, paths)):
        yield f"If nothing runs the files, as optional plugins: `unlinked: [{', '.join(paths)}]`"
    else:
        yield "If nothing runs the files, as optional plugins, name them in `unlinked`."
