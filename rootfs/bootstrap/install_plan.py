"""The installer's plan, made of a recipe and a lock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rootfs.bootstrap.bootstrapper import Job
from rootfs.install.plan import Deb, NewEntry, NewGroup, NewUser, Plan
from rootfs.lock.lock import Package
from rootfs.recipe.base import Packaged
from rootfs.recipe.sections import FileEntry
from rootfs.tree.filters import dpkg_rules, filter_lines

# Settings of the official images of Debian and Ubuntu, under the same names: Dockerfiles refer to them.
APT_SETTINGS = Path(__file__).parent / "apt_settings"
FILTER_SETTINGS = "/etc/dpkg/dpkg.cfg.d/baseforge-paths"
UNSAFE_IO = "# A container's files are thrown away when something goes wrong: no need to sync each.\nforce-unsafe-io\n"


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


def make_plan(job: Job, recipe: Packaged, start: StartTree, base_epoch: int) -> Plan:
    """The plan of a tree."""
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
        epoch=job.epoch,
        packages=tuple(map(_deb, job.lock.packages)),
        settings=dict(_added_settings(job, recipe) if start.layered else _settings(job, recipe)),
        entries=tuple(_entries(recipe)),
        groups=tuple(NewGroup(group.name, group.gid) for group in recipe.groups),
        users=tuple(NewUser(**user.model_dump()) for user in recipe.users),
        scripts=recipe.customise,
        locale=recipe.locale,
        timezone=recipe.timezone,
        remove_package_manager=recipe.package_manager == "remove",
        include=recipe.include,
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


def _settings(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """Settings of dpkg, and of apt where it is installed, which also hold for later installations."""
    if rules := dpkg_rules(filter_lines(recipe.filters)):
        yield FILTER_SETTINGS, rules
    if all(package.name != "apt" for package in job.lock.packages):
        return
    yield "/etc/dpkg/dpkg.cfg.d/docker-apt-speedup", UNSAFE_IO
    yield "/etc/apt/sources.list", job.sources_list
    for path in sorted(APT_SETTINGS.iterdir()):
        yield f"/etc/apt/apt.conf.d/{path.name}", path.read_text()
    yield from _archive_sources(recipe)


def _added_settings(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """Settings that a layer adds to those of its base image."""
    if own_lines := filter_lines(recipe.filters):
        before = [line for each in job.base_recipes for line in filter_lines(each.filters)]
        yield FILTER_SETTINGS, dpkg_rules([*before, *own_lines])
    added = [each.added_packages for each in job.base_recipes if each.added_packages]
    yield from _archive_sources(recipe, sum(len(each.repositories) for each in added))


def _archive_sources(recipe: Packaged, before: int = 0) -> Iterator[tuple[str, str]]:
    """apt's sources of the further archives, numbered after the `before` ones of base images."""
    for number, each in enumerate(recipe.repositories, before + 1):
        lines = [
            "Types: deb",
            f"URIs: {each.uri}",
            f"Suites: {' '.join(each.suites)}",
            f"Components: {' '.join(each.components)}",
            f"Signed-By: {_keyring_path(each.keyring)}",
        ]
        yield f"/etc/apt/sources.list.d/further-{number}.sources", "\n".join([*lines, ""])


def _keyring_path(path: str) -> str:
    """The path of a further archive's keyring in the image."""
    return f"/etc/apt/keyrings/{Path(path).name}"


def _entries(recipe: Packaged) -> Iterator[NewEntry]:
    """The keyrings of further archives, then the files of the recipe."""
    for keyring in {each.keyring: None for each in recipe.repositories}:
        yield NewEntry(_keyring_path(keyring), source=keyring, mode=0o644)
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
