"""Debs without compression, kept from one build to the next: xz is slow, and few packages change in a night.

A file is named after its deb and after what it is itself, so one that was damaged is made anew. What goes wrong with
keeping is no error: it is a saving.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rootfs import deb
from rootfs.deb import Unpacked
from rootfs.errors import BadDeb
from rootfs.lock import Package
from rootfs.memo import copy, prune

LARGEST = 1 << 30  # bytes that stay for the next time


@dataclass(frozen=True)
class Plain:
    """A package's deb without compression: the file, and what it says."""

    package: Package
    path: Path
    said: Unpacked


def write(package: Package, packed: Path, path: Path, kept: Path | None) -> Plain:
    """Write the deb without compression to `path`: the one that is kept, else from the packed one. Raises BadDeb."""
    said = _copied(package, path, kept) if kept else None
    return Plain(package, path, said or deb.unpacked(packed, path))


def _copied(package: Package, path: Path, kept: Path) -> Unpacked | None:
    for found in kept.glob(f"{package.sha256}-*.deb"):
        with contextlib.suppress(OSError):
            shutil.copyfile(found, path)
            with contextlib.suppress(BadDeb):
                said = deb.described(path, found.name)
                if found.name == _name(package, said):
                    os.utime(found)
                    return said
            found.unlink()
    return None


def keep(made: Iterable[Plain], kept: Path) -> None:
    """Keep these for the next time, and let go of what was not used for longest."""
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        for each in made:
            if not (path := kept / _name(each.package, each.said)).exists():
                copy(each.path, path)
        prune(kept, LARGEST)


def _name(package: Package, said: Unpacked) -> str:
    return f"{package.sha256}-{said.sha256}.deb"
