"""The installer's plan, made of a recipe and a lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rootfs.bootstrap.apt_files import keyring_path
from rootfs.bootstrap.bootstrapper import Job
from rootfs.install.plan import Deb, NewEntry, NewGroup, NewUser, Plan
from rootfs.lock.lock import Package
from rootfs.network.certificates import Certificate, read_certificates
from rootfs.recipe.base import Packaged, foreign_architectures
from rootfs.recipe.sections import FileEntry
from rootfs.recipe.types import BUILT_IN_LOCALES


@dataclass(frozen=True)
class StartTree:
    """The tree that the installer starts from: a tar, or None where a bootstrapper has made it in place.

    `epoch` is the build time of its newest package, in seconds since 1970. `has_base`: the base packages are in it.
    `save_to` names the tars to save the trees of `essential` and `base` packages to. `layered`: it is the tree of a
    base image.
    """

    tar: Path | None
    epoch: int
    has_base: bool = False
    save_to: dict[str, Path] = field(default_factory=dict)
    layered: bool = False


def make_plan(
    job: Job, recipe: Packaged, settings: Iterable[tuple[str, str]], start: StartTree, base_epoch: int
) -> Plan:
    """The plan of a tree; `settings` are path and text of files of apt and dpkg."""
    return Plan(
        tree=job.tree,
        work=job.folder,
        start=start.tar,
        start_epoch=start.epoch,
        has_base=start.has_base,
        layered=start.layered,
        save_to=start.save_to,
        base_epoch=base_epoch,
        debs=job.decompressed,
        files=job.files,
        architecture=job.architecture,
        foreign=foreign_architectures((*job.base_recipes, recipe), job.architecture),
        epoch=job.epoch,
        packages=tuple(map(_deb, job.lock.packages)),
        settings=dict(settings),
        entries=tuple(_entries(job.files, recipe, read_certificates(job.files, recipe.certificates))),
        groups=tuple(NewGroup(group.name, group.gid) for group in recipe.groups),
        users=tuple(NewUser(**user.model_dump()) for user in recipe.users),
        scripts=recipe.customise,
        locale=recipe.locale,
        generate_locale=recipe.locale is not None and recipe.locale not in BUILT_IN_LOCALES,
        timezone=recipe.timezone,
        remove_package_manager=recipe.package_manager == "remove",
        include=recipe.included(job.architecture),
    )


def _deb(package: Package) -> Deb:
    return Deb(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        file=package.file_name,
        essential=package.essential,
        base=package.base,
        auto=package.auto,
    )


def _entries(files: Path, recipe: Packaged, certificates: Iterable[Certificate]) -> Iterator[NewEntry]:
    """The keyrings of further archives, which are in the folder `files`, then the files of the recipe."""
    for path, keyring in {keyring_path(files / each.keyring): each.keyring for each in recipe.repositories}.items():
        yield NewEntry(path, source=keyring, mode=0o644)
    yield from (NewEntry(f"/{each.path}", content=each.pem.decode(), mode=0o644) for each in certificates)
    yield from map(_entry, recipe.files)


def _entry(file: FileEntry) -> NewEntry:
    return NewEntry(
        path=file.path,
        owner=file.owner,
        source=file.source,
        content=file.content,
        link=file.link,
        folder=bool(file.folder),
        mode=None if file.mode is None else int(file.mode, 8),
    )
