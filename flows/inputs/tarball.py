"""Tarballs on their way into a build: kept in the store by their sha256, and vouched for where a recipe asks for it."""

from __future__ import annotations

from pathlib import Path

from flows.config.paths import cache_folder
from flows.inputs.resolve import Inputs
from flows.inputs.tree import empty_folder
from flows.runtime.context import current, current_run
from rootfs.packages.tarball_signature import verified_signer
from rootfs.packages.tarball_source import TarballSource
from rootfs.recipe.sections import TARBALL, TarballKeys
from rootfs.system.text import format_size


def fetch_tarball(wanted: Inputs, tarball: TarballKeys, folder: Path, *, offline: bool) -> Path:
    """The archive in a folder, out of the store, which takes from elsewhere what it lacks. Raises as `Source`."""
    here, digest = current(), wanted.lock.tarball
    cache, transfers = cache_folder() / "partial", here.settings.site.transfers()
    source = TarballSource(tarball, wanted.files, here.store, cache, offline, current_run().log, transfers)
    taken = source.into_pool(digest)
    place = empty_folder(folder / "debs")
    source.lay_out(digest, place / TARBALL)
    here.progress.note(f"{format_size((place / TARBALL).stat().st_size)}, {format_size(taken)} of it fetched")
    return place


def check_signature(wanted: Inputs, tarball: TarballKeys, place: Path, *, offline: bool) -> None:
    """See who signed the archive in a folder, where the recipe names a signature. Raises what `signer` does."""
    cache, log, transfers = cache_folder() / "partial", current_run().log, current().settings.site.transfers()
    if key := verified_signer(
        tarball, wanted.files, place / TARBALL, cache, offline=offline, log=log, transfers=transfers
    ):
        log(f"{tarball.source}: signed by {key}")
