"""Engines make a tree from a recipe and its lock: one file each, all behind one Protocol."""

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
    """One tree to make: `folder` is an empty work folder, `files` the recipe's own folder of files.

    `debs` holds every deb of the lock under its `file_name`, or its tarball, checked. `sources_list` is the text of
    the image's own `/etc/apt/sources.list`. What saves other builds work is kept in `cache`; without one nothing is
    used or kept. A layer's tree begins with that of `stack`, the image it is laid on, which is of the recipes `below`,
    the lowest first. `limits` hold for the recipe's commands, and for packages and scripts of the tree.
    """

    recipe: Recipe
    files: Path
    lock: Lock
    architecture: str
    folder: Path
    debs: Path
    sources_list: str
    cache: Path | None
    log: Log
    stack: LayerStack | None = None
    below: tuple[Recipe, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def epoch(self) -> int:
        """`SOURCE_DATE_EPOCH`: never before that of the image below, whose files stay as they are."""
        return max(self.lock.epoch, self.stack.epoch if self.stack else 0)

    @property
    def tree(self) -> Path:
        """Where the tree is made."""
        return self.folder / "tree"

    @property
    def repository(self) -> Path:
        """Where the archive is that stage one gets its packages from."""
        return self.folder / "repository"

    @property
    def kept(self) -> Path | None:
        """Where trees that many recipes begin with are kept."""
        return self.cache / "kept" if self.cache else None

    @property
    def kept_debs(self) -> Path | None:
        """Where debs without compression are kept for the next time."""
        return self.kept / "debs" if self.kept else None

    @property
    def plain(self) -> Path:
        """Where debs are without compression."""
        return self.folder / "plain"

    @property
    def environment(self) -> dict[str, str]:
        """What an engine's programs see besides the clean environment."""
        return {
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "TMPDIR": str(self.folder),
            "DEBIAN_FRONTEND": "noninteractive",
        }


class Bootstrapper(Protocol):
    """Makes a tree and gives its members, in order, while the block lasts; leaving it checks how its programs ended."""

    def __call__(self, job: Job, recipe: Any) -> AbstractContextManager[Members]:  # noqa: ANN401 - of its own kind
        """The members of the tree that the job's recipe and lock mean."""


def open_tree(job: Job) -> AbstractContextManager[Members]:
    """The members of the job's tree, made by what the recipe's kind is registered with."""
    bootstrapper: Bootstrapper = pkgutil.resolve_name(KINDS[job.recipe.kind].bootstrapper)
    return bootstrapper(job, job.recipe)


def is_root() -> bool:
    """Whether we run as root."""
    return os.geteuid() == 0


def remove_tree(path: Path) -> None:
    """Remove a work folder with all in it, also what belongs to an ordinary user's subordinate ids (subuid(5)).

    rm(1) does it, as folders in it may be in each other too deep for Python. What cannot be removed stays.
    """
    if os.path.lexists(path):
        contained: Contained = False if is_root() else "with owners"
        run(["rm", "-rf", "--one-file-system", "--", path], check=False, contained=contained)
