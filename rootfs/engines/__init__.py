"""Engines make a tree from a recipe: one file each, all behind one Protocol."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rootfs.archive import Source
from rootfs.errors import ArchiveMoved, ArchiveUnreachable, PackageMissing, ProgramFailed
from rootfs.lock import Lock
from rootfs.members import Members
from rootfs.recipe import DebootstrapRecipe, Recipe
from rootfs.run import Log

TIMEOUT = 3600.0  # seconds an engine may take


@dataclass(frozen=True)
class Job:
    """One tree to make: `folder` is an empty work folder, `files` the recipe's own folder of files."""

    recipe: Recipe
    files: Path
    lock: Lock
    sources: tuple[Source, ...]
    architecture: str
    folder: Path
    log: Log

    @property
    def environment(self) -> dict[str, str]:
        """What an engine's programs see besides the clean environment."""
        return {
            "SOURCE_DATE_EPOCH": str(self.lock.epoch),
            "TMPDIR": str(self.folder),
            "DEBIAN_FRONTEND": "noninteractive",
        }


class Engine(Protocol):
    """Makes a tree and gives its members, in order, while the block lasts; leaving it checks how the engine ended."""

    def __call__(self, job: Job) -> AbstractContextManager[Members]:
        """The members of the tree that the job's recipe and lock mean."""


def engine_for(recipe: Recipe) -> Engine:
    """The engine a recipe asks for."""
    from rootfs.engines import debootstrap, mmdebstrap, scratch

    by_name: dict[str, Engine] = {"mmdebstrap": mmdebstrap.tree, "debootstrap": debootstrap.tree}
    return by_name[recipe.engine] if isinstance(recipe, DebootstrapRecipe) else scratch.tree


def is_root() -> bool:
    """Whether we run as root."""
    return os.geteuid() == 0


def check_releases(lock: Lock, seen: Iterable[str]) -> None:
    """Raises ArchiveMoved when the InRelease files an engine saw (their sha256) are not those that the lock says."""
    for release in lock.releases:
        if release.sha256 not in seen:
            raise ArchiveMoved(release.suite)


@contextmanager
def explained(recipe: DebootstrapRecipe) -> Iterator[None]:
    """Turn the failures of apt that have a known cause into errors that name it."""
    try:
        yield
    except ProgramFailed as error:
        if missing := re.search(r"Unable to locate package (\S+)", error.output):
            raise PackageMissing(missing[1], recipe.suite, recipe.components) from error
        if broken := re.search(r"^[EW]: Failed to fetch (\S+)\s+(.*)", error.output, re.MULTILINE):
            raise ArchiveUnreachable(broken[1], broken[2]) from error
        raise
