"""The pool: every deb that a lock ever named, stored as a blob; downloaded once, checked whenever it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from rootfs.apt.errors import AccessDenied, ArchiveUnreachable
from rootfs.apt.transfer import ANONYMOUS, Transfers
from rootfs.errors import BaseforgeError, BlobDamaged, BlobMissing, BuildError
from rootfs.lock.lock import Package
from rootfs.packages.download import DebSource, download_debs
from rootfs.packages.errors import damaged_debs, missing_debs
from rootfs.process.run import Log

WRITING = 2  # threads that write debs from the store
ASKING = 16  # threads that ask the store which debs it has: each request takes milliseconds

UnusablePackages = Mapping[Package, BaseforgeError]  # their blobs are damaged (BlobDamaged) or missing (BlobMissing)


class BlobStore(Protocol):
    """What the pool needs of a store. It can be used from several threads and processes at once."""

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Store the bytes of a file or a stream. Returns their digest.

        If a `digest` is given, they must have it, and they are not read if the blob exists. A blob of another length is
        replaced; with `check` any damaged one is.
        """

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob exists, with this size if one is given. Its bytes are checked when it is read."""

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """The blob as a stream. Raises BlobMissing, and BlobDamaged at its end if the digest is wrong."""

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file, atomically and checked. Raises as `open_blob` does."""


@dataclass(frozen=True)
class FillResult:
    """Statistics: how many debs the pool had, how many were fetched, their bytes, and the seconds it took."""

    present: int
    fetched: int
    bytes: int
    seconds: float


def fill_pool(
    packages: Iterable[Package],
    blobs: BlobStore,
    mirror: Callable[[str], str],
    *,
    offline: bool,
    log: Log,
    folder: Path,
    transfers: Transfers = ANONYMOUS,
) -> FillResult:
    """Download the debs that the pool lacks. `mirror` maps an archive's address to its mirror.

    `folder` keeps partial downloads for later runs. Debs that arrived before an error stay in the pool.
    Raises DebGone (an ArchiveMoved), ArchiveUnreachable, AccessDenied, DebMismatch, DiskFull, BuildError if
    `offline`, and what the blobs raise.
    """
    start = time.monotonic()
    unique = list({package.digest: package for package in packages}.values())
    missing = _missing(unique, blobs)
    size = sum(package.size for package in missing)
    if missing and offline:
        raise missing_debs([f"{package.name} {package.version}" for package in missing])
    if missing:
        log(f"the pool lacks {len(missing)} of {len(unique)} debs ({size / 1e6:.1f} MB)")
        archive = DebSource(mirror, folder, log, transfers)
        failed = download_debs(missing, archive, lambda package, file: _keep(blobs, package, file))
        for problem in failed.values():
            raise problem
    return FillResult(len(unique) - len(missing), len(missing), size, time.monotonic() - start)


def _missing(packages: list[Package], blobs: BlobStore) -> list[Package]:
    with ThreadPoolExecutor(ASKING) as threads:
        present = list(threads.map(lambda package: blobs.has_blob(package.digest, package.size), packages))
    return [package for package, has in zip(packages, present, strict=True) if not has]


def _keep(blobs: BlobStore, package: Package, file: BinaryIO) -> None:
    blobs.put_blob(file, package.digest)


def write_debs(packages: Iterable[Package], blobs: BlobStore, folder: Path) -> UnusablePackages:
    """Write each deb to `folder/package.file_name`, checked, not synced. Returns those that are damaged or missing.

    Raises DiskFull and what else the blobs raise.
    """

    def write(package: Package) -> BaseforgeError | None:
        try:
            blobs.fetch_blob(package.digest, folder / package.file_name)
        except (BlobDamaged, BlobMissing) as problem:
            return problem
        return None

    packages = list(packages)
    with ThreadPoolExecutor(WRITING) as pool:
        results = list(pool.map(write, packages))
    return {package: problem for package, problem in zip(packages, results, strict=True) if problem}


def write_debs_repairing(
    packages: Iterable[Package],
    blobs: BlobStore,
    folder: Path,
    mirror: Callable[[str], str],
    offline: bool,
    log: Log,
    transfers: Transfers = ANONYMOUS,
) -> None:
    """Write debs as `write_debs` does. Damaged or missing ones are downloaded again and replaced in the pool.

    Raises BuildError where the archive no longer has one, does not answer, or must not be asked (`offline`).
    """
    unusable = write_debs(packages, blobs, folder)
    for package, problem in unusable.items():
        log(f"{package.file_name}: {problem.message}")
    if unusable and offline:
        raise _not_repaired(dict.fromkeys(unusable, "no archive is asked when offline"), unusable)
    if unusable:
        if reasons := _replace(unusable, blobs, DebSource(mirror, folder, log, transfers)):
            raise _not_repaired(reasons, unusable)
        if still_unusable := write_debs(unusable, blobs, folder):
            raise _not_repaired(
                dict.fromkeys(still_unusable, "so it is again after it was replaced: check the disk"), still_unusable
            )


def _replace(unusable: UnusablePackages, blobs: BlobStore, archive: DebSource) -> dict[Package, str]:
    """Download debs again and replace the damaged ones. Returns the reasons for those that failed."""
    replaced = set[Package]()

    def keep(package: Package, file: BinaryIO) -> None:
        blobs.put_blob(file, package.digest, check=True)
        replaced.add(package)

    try:
        failed = download_debs(list(unusable), archive, keep)
    except (AccessDenied, ArchiveUnreachable) as problem:
        failed = {package: problem for package in unusable if package not in replaced}
    return {package: f"{problem.message} ({problem.where})" for package, problem in failed.items()}


def _not_repaired(reasons: Mapping[Package, str], unusable: UnusablePackages) -> BuildError:
    state = {package: "missing" if isinstance(unusable[package], BlobMissing) else "damaged" for package in reasons}
    return damaged_debs([(deb.file_name, deb.digest, f"it is {state[deb]}; {why}") for deb, why in reasons.items()])
