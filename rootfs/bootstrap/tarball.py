"""The bootstrapper of tarballs: reads an untrusted root filesystem once from end to end, and checks all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import BinaryIO

from rootfs.bootstrap.bootstrapper import Job
from rootfs.elf.errors import other_architecture
from rootfs.elf.machine import architectures
from rootfs.errors import BuildError
from rootfs.recipe.sections import TARBALL_NAME
from rootfs.recipe.tarball import TarballRecipe
from rootfs.system.text import printable
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.image_archive import image_members
from rootfs.tarball.limited_stream import LimitedStream
from rootfs.tarball.reader import read_tar
from rootfs.tarball.root_filesystem import check_root_filesystem
from rootfs.tarball.sanitize import LATEST_MTIME, device_rules, sanitize
from rootfs.tarball.staging import Staging
from rootfs.tree.filters import Rules, excluded, filter_list
from rootfs.tree.member import Member, Members

SETUID_SETGID = 0o6000  # set-uid and set-gid


@contextmanager
def open_tree(job: Job, recipe: TarballRecipe) -> Iterator[Members]:
    """The tree of a tarball recipe. Its names are never used as paths on this machine's disk.

    Raises TarballRefused, BuildError.
    """
    with closing(Staging(job.folder, recipe.most)) as staging:
        newest = _fill(staging, recipe, job)
        _check_tree(staging, recipe)
        _check_setuid(staging, recipe)
        _check_architecture(staging, job.architecture, recipe.source)
        yield staging.members(newest if recipe.epoch is None else recipe.epoch)


def _fill(staging: Staging, recipe: TarballRecipe, job: Job) -> int:
    """Fill the staging area with the members that are kept; the time of the newest."""
    lines = [*filter_list("volatile"), *(device_rules() if recipe.devices else ()), *excluded(recipe.leave_out)]
    try:
        with (job.debs / TARBALL_NAME).open("rb") as file:
            members = sanitize(_read_members(file, recipe, job), Rules.parse(lines), job.log, strip=recipe.strip)
            return staging.fill(members, LATEST_MTIME)
    except TarballRefused as refused:
        refused.where = recipe.source
        raise


def _read_members(file: BinaryIO, recipe: TarballRecipe, job: Job) -> Iterator[Member]:
    limits = {"largest": recipe.largest, "most": recipe.most}
    if recipe.archive == "image":
        yield from image_members(file, job.folder / "image", job.architecture, job.log, **limits)
        return
    plain = LimitedStream(file, recipe.largest)
    yield from read_tar(plain, **limits)
    job.log(f"{recipe.source}: {plain.compression}, {plain.size} bytes unpacked")


def _check_tree(staging: Staging, recipe: TarballRecipe) -> None:
    try:
        check_root_filesystem(staging)
    except TarballRefused as refused:
        refused.where = recipe.source
        raise


def _check_setuid(staging: Staging, recipe: TarballRecipe) -> None:
    unlisted = Rules.parse(excluded(recipe.setuid))
    if found := [printable(path) for path in staging.names_of(SETUID_SETGID) if unlisted.keeps(path)]:
        raise setuid_files(found, recipe.source)


def _check_architecture(staging: Staging, architecture: str, source: str) -> None:
    found = architectures(staging.machines)
    if found and architecture not in found:
        raise other_architecture(" or ".join(found), architecture, source)


def setuid_files(files: Sequence[str], source: str) -> BuildError:
    """An archive has set-uid or set-gid files that its recipe does not list."""
    more = [f"… and {len(files) - 18} more"] if len(files) > 18 else []
    return BuildError(
        f"{len(files)} files in it are set-uid or set-gid, and not on the list `setuid`",
        where=source,
        output="\n".join([*(f"/{path}" for path in files[:18]), *more]),
        hint="List those under `setuid` (--setuid) that the image needs, and leave the others out (`leave_out`).",
    )
