"""From a recipe and a lock to the plan of stage two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rootfs.bootstrap.bootstrapper import Job
from rootfs.install.plan import Deb, Entry, NewGroup, NewUser, Plan
from rootfs.lock.lock import Package
from rootfs.recipe.base import Packaged
from rootfs.recipe.sections import FileEntry
from rootfs.tree.filters import dpkg_rules, filter_lines

# What the official images of Debian and Ubuntu have, under the names they have there: many a Dockerfile knows those.
APT = Path(__file__).parent / "apt_settings"
PATHS = "/etc/dpkg/dpkg.cfg.d/baseforge-paths"
UNSAFE_IO = "# A container's files are thrown away when something goes wrong: no need to sync each.\nforce-unsafe-io\n"


@dataclass(frozen=True)
class Start:
    """A tar that stage two begins with, of packages that were built until `epoch` (seconds since 1970), or None where
    the tree is there already.

    If it does not have the base packages, these come first. Trees of `essential` and `base` packages are written to the
    tars in `keep`, as far as these are there. A `whole` one is an image's, which is only added to.
    """

    tar: Path | None
    epoch: int
    has_base: bool = False
    keep: dict[str, Path] = field(default_factory=dict)
    whole: bool = False


def plan_of(job: Job, recipe: Packaged, start: Start, base_epoch: int) -> Plan:
    """What stage two has to do."""
    return Plan(
        tree=job.tree,
        scratch=job.folder,
        start=start.tar,
        start_epoch=start.epoch,
        has_base=start.has_base,
        whole=start.whole,
        keep=start.keep,
        base_epoch=base_epoch,
        debs=job.plain,
        files=job.files,
        architecture=job.architecture,
        epoch=job.epoch,
        packages=tuple(map(_deb, job.lock.packages)),
        texts=dict(_added_texts(job, recipe) if start.whole else _texts(job, recipe)),
        entries=tuple(_entries(recipe)),
        groups=tuple(NewGroup(group.name, group.gid) for group in recipe.groups),
        users=tuple(NewUser(**user.model_dump()) for user in recipe.users),
        scripts=recipe.customise,
        locale=recipe.locale,
        timezone=recipe.timezone,
        remove=recipe.package_manager == "remove",
        asked=recipe.include,
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


def _texts(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """Settings of dpkg and apt, which hold for what is installed later too; apt's only where it is."""
    if rules := dpkg_rules(filter_lines(recipe.filters)):
        yield PATHS, rules
    if all(package.name != "apt" for package in job.lock.packages):
        return
    yield "/etc/dpkg/dpkg.cfg.d/docker-apt-speedup", UNSAFE_IO
    yield "/etc/apt/sources.list", job.sources_list
    for path in sorted(APT.iterdir()):
        yield f"/etc/apt/apt.conf.d/{path.name}", path.read_text()
    yield from _archives(recipe)


def _added_texts(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """What a layer adds to the settings of the image below."""
    if own := filter_lines(recipe.filters):
        before = [line for each in job.below for line in filter_lines(each.filters)]
        yield PATHS, dpkg_rules([*before, *own])
    yield from _archives(recipe, sum(len(each.request.repositories) for each in job.below if each.request))


def _archives(recipe: Packaged, before: int = 0) -> Iterator[tuple[str, str]]:
    """apt's sources of the further archives, numbered on from those that are there before."""
    for number, each in enumerate(recipe.repositories, before + 1):
        lines = [
            "Types: deb",
            f"URIs: {each.uri}",
            f"Suites: {' '.join(each.suites)}",
            f"Components: {' '.join(each.components)}",
            f"Signed-By: {_keyring(each.keyring)}",
        ]
        yield f"/etc/apt/sources.list.d/further-{number}.sources", "\n".join([*lines, ""])


def _keyring(path: str) -> str:
    """Where the keyring of a further archive is in the image."""
    return f"/etc/apt/keyrings/{Path(path).name}"


def _entries(recipe: Packaged) -> Iterator[Entry]:
    """Keyrings of further archives, then what the recipe lays over the tree."""
    for keyring in {each.keyring: None for each in recipe.repositories}:
        yield Entry(_keyring(keyring), source=keyring, mode=0o644)
    yield from map(_entry, recipe.files)


def _entry(file: FileEntry) -> Entry:
    uid, gid = map(int, file.owner.split(":"))
    return Entry(
        path=file.path,
        owner=(uid, gid),
        source=file.source,
        content=file.content,
        link=file.link,
        folder=bool(file.folder),
        mode=None if file.mode is None else int(file.mode, 8),
    )
