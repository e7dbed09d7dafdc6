"""Check, before a tree is made, that its packages have the time zone and the locale that the recipe names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rootfs.bootstrap.bootstrapper import Job
from rootfs.install.errors import no_locale, no_timezone
from rootfs.lock.lock import Package
from rootfs.packages import deb
from rootfs.packages.decompressed import decompress
from rootfs.recipe.base import ImageContents
from rootfs.recipe.scratch import TIME_ZONES
from rootfs.recipe.types import BUILT_IN_LOCALES, BUILT_IN_ZONES
from rootfs.tree.member import Member
from rootfs.tree.merge import merge_layers
from rootfs.tree.package_tree import package_entries

ZONES = "usr/share/zoneinfo"
LINKS = f"{ZONES}/tzdata.zi"  # tzfile's source: it also has the zones that distributions put into another package
SUPPORTED = "usr/share/i18n/SUPPORTED"
LOCALE_PACKAGES = ("locales",)


@dataclass(frozen=True)
class _File:
    """A file of a package or of the base image."""

    member: Member
    read: Callable[[], bytes]


def check_settings(job: Job, recipe: ImageContents) -> None:
    """Check the recipe's time zone and locale against the packages of the lock and the base image. Raises InputError.

    That the packages are there at all is known when they are resolved.
    """
    if recipe.timezone and recipe.timezone not in BUILT_IN_ZONES:
        with _files(job, TIME_ZONES, f"{ZONES}/") as files:
            check_zone(recipe.timezone, files)
    if recipe.locale and recipe.locale not in BUILT_IN_LOCALES:
        with _files(job, LOCALE_PACKAGES, SUPPORTED) as files:
            if SUPPORTED in files:  # else `locales-all` has all of them
                check_locale(recipe.locale, files[SUPPORTED].read().decode(errors="replace"))


def check_zone(name: str, files: Mapping[str, _File]) -> None:
    """Check that there is a zone of this name. Raises InputError, with the package or the name that helps."""
    zones = {path.removeprefix(f"{ZONES}/") for path, file in files.items() if not file.member.is_folder}
    if name not in zones:
        text = files[LINKS].read().decode(errors="replace") if LINKS in files else ""
        raise no_timezone(name, zones, zone_links(text))


def zone_links(text: str) -> dict[str, str]:
    """Other names of zones, and the zone that each means, in the lines `L ZONE NAME` of a tzdata.zi."""
    lines = (line.split() for line in text.splitlines() if line.startswith("L "))
    return {words[2]: words[1] for words in lines if len(words) == 3}


def check_locale(name: str, supported: str) -> None:
    """Check that a locale is one of a list of supported ones. Raises InputError."""
    known = [words[0] for line in supported.splitlines() if (words := line.split())]
    if name not in known:
        raise no_locale(name, "the package `locales` does not have it", known)


@contextmanager
def _files(job: Job, packages: tuple[str, ...], start: str) -> Iterator[dict[str, _File]]:
    """Files of the base image and of packages of the lock whose paths begin with `start`. Raises BadDeb."""
    found: dict[str, _File] = {}
    with ExitStack() as opened:
        if job.base_image:
            tree = opened.enter_context(merge_layers(job.base_image.tars))
            found |= {
                path: _File(node.head, lambda node=node, path=path: _content(node.member(path)))  # type: ignore[misc]
                for path, node in tree.items()
                if path.startswith(start)
            }
        for package in job.lock.packages:
            if package.name in packages:
                found |= _files_of_package(job, package, start)
        yield found


def _content(member: Member) -> bytes:
    return member.content.read() if member.content else b""


def _files_of_package(job: Job, package: Package, start: str) -> dict[str, _File]:
    folder = job.folder / "settings"
    folder.mkdir(exist_ok=True)
    plain = folder / package.file_name
    decompress(package, job.debs / package.file_name, plain, job.deb_cache)
    entries = package_entries(package.name, plain, *deb.member_offsets(plain)["data.tar"])
    return {each.path: _File(each.member, each.read) for each in entries if each.path.startswith(start)}
