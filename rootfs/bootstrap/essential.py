"""Stage one: an engine makes the tree of the essential packages, which stage two goes on with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from rootfs.bootstrap import debootstrap, local_repository, mmdebstrap
from rootfs.bootstrap.bootstrapper import Job, remove_tree
from rootfs.errors import ProgramFailed
from rootfs.install.dpkg import explained
from rootfs.lock.lock import Package
from rootfs.packages import decompressed
from rootfs.packages.decompressed import DecompressedDeb, Decompressing
from rootfs.recipe.debootstrap import DebootstrapRecipe

# Each makes the tree of the job's repository, whose debs come when they are asked for: packages of a suite, of which
# none is newer than an epoch.
Debs = Callable[[], list[DecompressedDeb]]
ENGINES: dict[str, Callable[[Job, Debs, str, int], None]] = {
    "mmdebstrap": mmdebstrap.stage_one,
    "debootstrap": debootstrap.stage_one,
}


def make(
    job: Job,
    recipe: DebootstrapRecipe,
    packages: list[Package],
    epoch: int,
    others: Decompressing,
    meanwhile: ExitStack,
) -> None:
    """Make the job's tree of these packages; what begins here beside it goes on until `meanwhile` is closed.

    None of them is newer than `epoch`. `others` are unpacked while the engine runs. Raises BadDeb,
    MaintainerScriptFailed, NeedsRoot, ProgramFailed, ProgramTimedOut.
    """
    folder, kept = job.repository, job.kept_debs
    meanwhile.callback(remove_tree, folder)
    folder.mkdir()
    aside = meanwhile.enter_context(ThreadPoolExecutor(1))

    def made() -> list[DecompressedDeb]:
        debs = local_repository.make(folder, job.debs, packages, kept)
        others()
        if kept:
            aside.submit(decompressed.save_to_cache, debs, kept)
        return debs

    try:
        ENGINES[recipe.engine](job, made, recipe.suite, epoch)
    except ProgramFailed as error:
        raise explained(error) from error
