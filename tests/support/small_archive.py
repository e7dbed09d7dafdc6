"""A small archive of real packages, for tests of resolving."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site
from rootfs.lock.lock import Lock
from rootfs.recipe.debootstrap import DebootstrapRecipe
from tests.support.debian import POCKETS, SUITE, Archive, Deb, Served, Signer, served, signer

# What every suite has: an essential package with an alternative, one of each priority, and apt with a library.
SHELF = (
    Deb("base", essential=True, priority="required", depends="libbase, mawk | awk"),
    Deb("libbase", "1:2.0+x~1"),
    Deb("mawk", priority="optional", fields={"Provides": "awk"}),
    Deb("gawk", fields={"Provides": "awk"}),
    Deb("needed", priority="required"),
    Deb("wished", priority="important"),
    Deb("usual", priority="standard"),
    Deb("apt", priority="important", depends="libapt", fields={"Recommends": "trust"}),
    Deb("libapt"),
    Deb("trust"),
    Deb("build-essential", depends="gcc"),
    Deb("gcc", architecture="amd64", fields={"Source": "gcc-src (5)"}),
    Deb("quarrel", fields={"Conflicts": "needed"}),
    Deb("mail-a", fields={"Provides": "mta", "Conflicts": "mta"}),
    Deb("mail-b", fields={"Provides": "mta", "Conflicts": "mta"}),
    Deb("broken", depends="nowhere"),
    Deb("libstdc++6"),
)


@dataclass
class Scene:
    """An archive, its server, and a factory's cache beside it."""

    archive: Archive
    server: Served
    cache: Path
    files: Path
    said: list[str] = field(default_factory=list)

    @property
    def site(self) -> Site:
        return self.server.site(self.archive.signer.keyring)

    def apt(self, site: Site | None = None, *, offline: bool = False) -> Apt:
        """A new night."""
        return Apt(self.cache, site or self.site, offline=offline, log=self.said.append)

    def lock(self, **keys: Any) -> Lock:
        """What a recipe means, asked on a night of its own."""
        return self.apt().lock(recipe(**keys), self.files, "amd64")

    def names(self, **keys: Any) -> set[str]:
        return {package.name for package in self.lock(**keys).packages}


def recipe(**keys: Any) -> DebootstrapRecipe:
    """A recipe of the small archive; without pockets if it does not say which, since apt takes time for each."""
    said = {"name": "it", "kind": "debootstrap", "suite": SUITE, "pockets": (), **keys}
    return DebootstrapRecipe.model_validate(said)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    """The archive's own key."""
    with signer(tmp_path_factory.mktemp("key")) as made:
        yield made


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    """Somebody else's key."""
    with signer(tmp_path_factory.mktemp("stranger")) as made:
        yield made


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Path:
    """The small archive, with all its pockets, signed once for all scenes."""
    archive = Archive(tmp_path_factory.mktemp("published") / "archive", key)
    archive.publish(*SHELF)
    for pocket in POCKETS:
        archive.publish(suite=f"{SUITE}-{pocket}")
    return archive.folder


@pytest.fixture
def scene(tmp_path: Path, key: Signer, published: Path) -> Iterator[Scene]:
    """The small archive, served; a test may publish something else in it."""
    with _scene(tmp_path, key, published) as made:
        yield made


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, key: Signer, published: Path) -> Iterator[Scene]:
    """The same, for tests that change nothing of it: its lists are fetched once."""
    with _scene(tmp_path_factory.mktemp("still"), key, published) as made:
        yield made


@contextlib.contextmanager
def _scene(folder: Path, key: Signer, published: Path) -> Iterator[Scene]:
    shutil.copytree(published, folder / "archive")
    archive = Archive(folder / "archive", key)
    (folder / "files").mkdir()
    with served(archive.folder) as server:
        yield Scene(archive, server, folder / "a cache", folder / "files")
