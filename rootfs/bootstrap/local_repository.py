"""A local apt repository of just the packages that stage one is made of, so that its engine can take nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rootfs.bootstrap.bootstrapper import Job
from rootfs.lock.lock import Package
from rootfs.packages import deb, decompressed
from rootfs.packages.decompressed import DecompressedDeb
from rootfs.process.run import run
from rootfs.process.sandbox import for_trees
from rootfs.system.digests import sha256_of_file

THREADS = 2
SECTION = "main"
POOL = "pool"

# An engine names its copy of an index after the whole address that this came from, and no name may be longer than 255
# bytes, which a path may be: so the repository has this path in the engine's sandbox.
MOUNT_POINT = "/repository"


def add_packages(
    folder: Path, debs: Path, packages: Iterable[Package], kept: Path | None = None
) -> list[DecompressedDeb]:
    """Begin the repository in the empty `folder`: what is in `debs`, without compression; returns what that became.

    What is `kept` of an earlier time saves work. Raises BadDeb.
    """
    (folder / POOL).mkdir()

    def write(package: Package) -> DecompressedDeb:
        name = f"{POOL}/{package.name}_{package.architecture}.deb"
        return decompressed.decompress(package, debs / package.file_name, folder / name, kept)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(write, packages))


def write_index(folder: Path, made: Iterable[DecompressedDeb], suite: str, architecture: str) -> None:
    """Say in the repository what it has, for an engine that asks.

    All of them get the priority `required`: debootstrap then takes each.
    """
    listing = folder / f"dists/{suite}/{SECTION}/binary-{architecture}/Packages"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(map(_stanza, made)))
    listed = f" {sha256_of_file(listing)} {listing.stat().st_size} {SECTION}/binary-{architecture}/Packages"
    (folder / f"dists/{suite}/Release").write_text(
        f"Suite: {suite}\nCodename: {suite}\nComponents: {SECTION}\nArchitectures: {architecture}\nSHA256:\n{listed}\n"
    )


def _stanza(made: DecompressedDeb) -> str:
    """The package in the index."""
    control = re.sub(r"^Priority:.*\n", "", made.info.control + "\n", flags=re.MULTILINE | re.IGNORECASE)
    where = f"Filename: {POOL}/{made.path.name}\nSize: {made.info.size}\nSHA256: {sha256_of_file(made.path)}"
    return f"{control}Priority: required\n{where}\n\n"


def newest_build_time(debs: Path, packages: Iterable[Package]) -> int:
    """When the newest of these packages was built, in seconds since 1970: a function of the packages alone."""
    return max((deb.build_time(debs / package.file_name) for package in packages), default=0)


def run_bootstrapper(
    job: Job,
    command: Sequence[str | Path],
    epoch: int,
    debs: Callable[[], bytes] | None = None,
    bound: tuple[tuple[Path, str], ...] = (),
) -> None:
    """Run an engine in a sandbox on the job's repository, which is in the folder `REPOSITORY` there.

    What `debs` says when they are there is the engine's standard input. The engine knows each path of `bound` by
    another name besides. Raises LimitReached, ProgramFailed, ProgramTimedOut.
    """
    view = for_trees(job.folder, job.limits, bound=((job.repository, MOUNT_POINT), *bound))
    environment = {**job.environment, "SOURCE_DATE_EPOCH": str(epoch), "REPOSITORY": MOUNT_POINT}
    run(command, env=environment, stdin=debs, contained=view, timeout=job.limits.seconds, log=job.log)
