"""Scratch images from tiny real packages."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.lock.lock import Lock, Package
from rootfs.recipe.recipe import files_folder, read_recipe
from rootfs.tree.member import Member
from tests.support.debian import Deb, made

LINKER = "/lib64/ld-linux-x86-64.so.2"
LIB = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Made:
    """What came of a recipe: members in their order, and contents of files by path."""

    members: list[Member]
    contents: dict[str, bytes]

    @property
    def files(self) -> set[str]:
        """What is no folder."""
        return {member.path for member in self.members if not member.is_folder}

    @property
    def links(self) -> dict[str, str]:
        return {member.path: member.link for member in self.members if member.kind == tarfile.SYMTYPE}

    def __getitem__(self, path: str) -> Member:
        return next(member for member in self.members if member.path == path)


Make = Callable[..., Made]


def locked(deb: Deb, folder: Path, *, auto: bool) -> Package:
    """A deb as a lock has it, its file in the folder."""
    data = made(deb)
    digest = hashlib.sha256(data).hexdigest()
    package = Package(
        name=deb.name,
        version=deb.version,
        architecture=deb.architecture,
        sha256=digest,
        size=len(data),
        source=deb.name,
        archive="http://archive.example",
        suite="trixie",
        path=deb.path,
        auto=auto,
    )
    (folder / package.file_name).write_bytes(data)
    return package


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the image that a recipe means; debs in `needed` come because others depend on them."""
    count = iter(range(9))

    def image(text: str, *debs: Deb, needed: tuple[Deb, ...] = (), name: str = "", **files: str) -> Made:
        folder = tmp_path / str(next(count))
        for each in ("r", "debs", "work"):
            (folder / each).mkdir(parents=True)
        for file, content in files.items():
            (folder / "r" / file).write_text(content)
        (folder / "r.yaml").write_text(f"kind: scratch\n{text}")
        packages = [locked(deb, folder / "debs", auto=False) for deb in debs]
        packages += [locked(deb, folder / "debs", auto=True) for deb in needed]
        recipe = read_recipe(folder / "r.yaml", name)
        lock = Lock(packages=tuple(packages))
        where = files_folder(folder / "r.yaml")
        job = Job(recipe, where, lock, "amd64", folder / "work", folder / "debs", None, lambda _: None)
        members, contents = [], {}
        with open_tree(job) as stream:
            for member in stream:
                members.append(member)
                if member.content:
                    contents[member.path] = member.content.read()
        return Made(members, contents)

    return image
