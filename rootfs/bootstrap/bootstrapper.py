"""Bootstrappers: the Protocol, and the job that they are given."""

from __future__ import annotations

import os
import pkgutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rootfs.lock.lock import Lock
from rootfs.process.run import Contained, Log, run
from rootfs.process.sandbox import Limits
from rootfs.recipe.base import Recipe
from rootfs.recipe.kinds import KINDS
from rootfs.tree.member import Members
from rootfs.tree.merge import LayerStack

READ_TIMEOUT = 3600.0  # seconds that reading a tree may take


@dataclass(frozen=True)
class Job:
    """One tree to make. `folder` is an empty work folder, `files` the recipe's own folder of files.

    `debs` holds every deb of the lock under its `file_name`, or the tarball, verified. `cache` is the folder of
    caches; without one nothing is cached. A layer's tree starts from the tree of `base_image`, which was made of
    `base_recipes`, the lowest first. `limits` hold for the recipe's commands, and for packages and scripts of the tree.
    `toolchains` are folders with tools in `bin` that recipes may name.
    """

    recipe: Recipe
    files: Path
    lock: Lock
    architecture: str
    folder: Path
    debs: Path
    cache: Path | None
    log: Log
    base_image: LayerStack | None = None
    base_recipes: tuple[Recipe, ...] = ()
    limits: Limits = field(default_factory=Limits)
    toolchains: tuple[Path, ...] = ()

    @property
    def epoch(self) -> int:
        """`SOURCE_DATE_EPOCH`: not before that of the base image, whose files stay as they are."""
        return max(self.lock.epoch, self.base_image.epoch if self.base_image else 0)

    @property
    def tree(self) -> Path:
        """The folder that the tree is made in."""
        return self.folder / "tree"

    @property
    def repository(self) -> Path:
        """The local apt repository of the essential packages."""
        return self.folder / "repository"

    @property
    def tree_cache(self) -> Path | None:
        """The folder of cached trees."""
        return self.cache / "kept" if self.cache else None

    @property
    def deb_cache(self) -> Path | None:
        """The folder of cached decompressed debs."""
        return self.tree_cache / "debs" if self.tree_cache else None

    @property
    def decompressed(self) -> Path:
        """The folder of this tree's decompressed debs."""
        return self.folder / "plain"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the bootstrapper's programs, in addition to the clean environment."""
        return {
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "TMPDIR": str(self.folder),
            "DEBIAN_FRONTEND": "noninteractive",
        }


class Bootstrapper(Protocol):
    """Makes a tree of one kind of recipe.

    Its members can be read, in order, while the context is open; leaving it checks that its programs ended well.
    """

    def __call__(self, job: Job, recipe: Any) -> AbstractContextManager[Members]:  # noqa: ANN401 - of its own kind
        """The members of the job's tree."""


def open_tree(job: Job) -> AbstractContextManager[Members]:
    """The members of the job's tree, made by the bootstrapper of the recipe's kind."""
    bootstrapper: Bootstrapper = pkgutil.resolve_name(KINDS[job.recipe.kind].bootstrapper)
    return bootstrapper(job, job.recipe)


def is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def remove_tree(path: Path) -> None:
    """Remove a work folder, also files that belong to an ordinary user's subordinate ids (subuid(5)).

    rm(1) does it, as folders may be nested too deep for Python. What cannot be removed stays.
    """
    if os.path.lexists(path):
        contained: Contained = False if is_root() else "with owners"
        run(["rm", "-rf", "--one-file-system", "--", path], check=False, contained=contained)
