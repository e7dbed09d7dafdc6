"""A local apt repository with only the essential packages, so that the bootstrapper can install no others."""

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

# apt names its copy of an index after the index's address, and a name has at most 255 bytes: hence this short path in
# the bootstrapper's sandbox.
MOUNT_POINT = "/repository"


def add_packages(
    folder: Path, debs: Path, packages: Iterable[Package], cache: Path | None = None
) -> list[DecompressedDeb]:
    """Write the packages, decompressed, into the repository in the empty `folder`, and return them.

    `debs` has their files, `cache` decompressed ones of earlier builds. Raises BadDeb.
    """
    (folder / POOL).mkdir()

    def write(package: Package) -> DecompressedDeb:
        name = f"{POOL}/{package.name}_{package.architecture}.deb"
        return decompressed.decompress(package, debs / package.file_name, folder / name, cache)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(write, packages))


def write_index(folder: Path, made: Iterable[DecompressedDeb], suite: str, architecture: str) -> None:
    """Write the index of the repository.

    All packages get the priority `required`, so that debootstrap installs each.
    """
    listing = folder / f"dists/{suite}/{SECTION}/binary-{architecture}/Packages"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(map(_stanza, made)))
    listed = f" {sha256_of_file(listing)} {listing.stat().st_size} {SECTION}/binary-{architecture}/Packages"
    (folder / f"dists/{suite}/Release").write_text(
        f"Suite: {suite}\nCodename: {suite}\nComponents: {SECTION}\nArchitectures: {architecture}\nSHA256:\n{listed}\n"
    )


def _stanza(made: DecompressedDeb) -> str:
    """The package's entry in the index."""
    control = re.sub(r"^Priority:.*\n", "", made.info.control + "\n", flags=re.MULTILINE | re.IGNORECASE)
    where = f"Filename: {POOL}/{made.path.name}\nSize: {made.info.size}\nSHA256: {sha256_of_file(made.path)}"
    return f"{control}Priority: required\n{where}\n\n"


def newest_build_time(debs: Path, packages: Iterable[Package]) -> int:
    """The build time of the newest of these packages, in seconds since 1970: it depends on the packages alone."""
    return max((deb.build_time(debs / package.file_name) for package in packages), default=0)


def run_bootstrapper(
    job: Job,
    command: Sequence[str | Path],
    epoch: int,
    debs: Callable[[], bytes] | None = None,
    bound: tuple[tuple[Path, str], ...] = (),
) -> None:
    """Run a bootstrapper in a sandbox; the environment variable `REPOSITORY` names the job's repository there.

    What `debs` returns is its standard input. Each path of `bound` is also mounted under a second name.
    Raises LimitReached, ProgramFailed, ProgramTimedOut.
    """
    view = for_trees(job.folder, job.limits, bound=((job.repository, MOUNT_POINT), *bound))
    environment = {**job.environment, "SOURCE_DATE_EPOCH": str(epoch), "REPOSITORY": MOUNT_POINT}
    run(command, env=environment, stdin=debs, contained=view, timeout=job.limits.seconds, log=job.log)
