"""The pool: every deb that a lock ever named, kept as a blob by its sha256; downloaded once, checked whenever read."""

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

ASKING = 16  # threads that ask the store what it has: one question takes a server milliseconds

UnusablePackages = Mapping[
    Package, BaseforgeError
]  # packages whose blob cannot be used, each with BlobDamaged or BlobMissing


class BlobStore(Protocol):
    """Where debs and other blobs are kept by `sha256:HEX`; safe to use from several threads and processes at once."""

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Keep a file's or a stream's bytes and return their digest; with a `digest` they must have it, and where it is
        there already the source is not read. A blob of another length is replaced, with `check` any damaged one."""

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is there, with this length if one is given (its bytes are checked when read)."""

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """The blob as a stream that raises BlobDamaged at its end where it is not what was kept; BlobMissing."""

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file, which is there whole and checked or not at all. Raises as `open_blob` does."""


@dataclass(frozen=True)
class FillResult:
    """What filling the pool took: how many debs were there, how many came, of how many bytes, in how many seconds."""

    there: int
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
    """Download what the pool lacks; `mirror` gives the address to use for an archive's own.

    `folder` keeps what has come of a deb for a later run to go on from. What came before an error stays in the pool.
    Raises DebGone (an ArchiveMoved), ArchiveUnreachable, AccessDenied, DebMismatch, DiskFull, BuildError if
    `offline`, and what the blobs raise.
    """
    began = time.monotonic()
    wanted = list({package.digest: package for package in packages}.values())
    lacking = _lacking(wanted, blobs)
    size = sum(package.size for package in lacking)
    if lacking and offline:
        raise missing_debs([f"{package.name} {package.version}" for package in lacking])
    if lacking:
        log(f"the pool lacks {len(lacking)} of {len(wanted)} debs ({size / 1e6:.1f} MB)")
        archive = DebSource(mirror, folder, log, transfers)
        failed = download_debs(lacking, archive, lambda package, file: _keep(blobs, package, file))
        for problem in failed.values():
            raise problem
    return FillResult(len(wanted) - len(lacking), len(lacking), size, time.monotonic() - began)


def _lacking(packages: list[Package], blobs: BlobStore) -> list[Package]:
    with ThreadPoolExecutor(ASKING) as threads:
        there = list(threads.map(lambda package: blobs.has_blob(package.digest, package.size), packages))
    return [package for package, has in zip(packages, there, strict=True) if not has]


def _keep(blobs: BlobStore, package: Package, file: BinaryIO) -> None:
    blobs.put_blob(file, package.digest)


def write_debs(packages: Iterable[Package], blobs: BlobStore, folder: Path, *, threads: int = 2) -> UnusablePackages:
    """Write each deb to `folder/package.file_name`, checked and not synced; returns those that are damaged or missing.

    Raises DiskFull and what else the blobs raise.
    """

    def write(package: Package) -> BaseforgeError | None:
        try:
            blobs.fetch_blob(package.digest, folder / package.file_name)
        except (BlobDamaged, BlobMissing) as problem:
            return problem
        return None

    packages = list(packages)
    with ThreadPoolExecutor(threads) as pool:
        ends = list(pool.map(write, packages))
    return {package: problem for package, problem in zip(packages, ends, strict=True) if problem}


def write_debs_repairing(
    packages: Iterable[Package],
    blobs: BlobStore,
    folder: Path,
    mirror: Callable[[str], str],
    offline: bool,
    log: Log,
    transfers: Transfers = ANONYMOUS,
) -> None:
    """Lay debs out as `lay_out` does; what is damaged or missing is fetched again and replaced in the pool.

    Raises BuildError where the archive no longer has one, does not answer, or must not be asked (`offline`).
    """
    bad = write_debs(packages, blobs, folder)
    for package, problem in bad.items():
        log(f"{package.file_name}: {problem.message}")
    if bad and offline:
        raise _beyond_help(dict.fromkeys(bad, "no archive is asked when offline"), bad)
    if bad:
        if reasons := _replace(bad, blobs, DebSource(mirror, folder, log, transfers)):
            raise _beyond_help(reasons, bad)
        if still := write_debs(bad, blobs, folder):
            raise _beyond_help(dict.fromkeys(still, "so it is again after it was replaced: check the disk"), still)


def _replace(bad: UnusablePackages, blobs: BlobStore, archive: DebSource) -> dict[Package, str]:
    """Fetch debs and put them in place of the damaged ones; returns which could not be had, and why."""
    replaced = set[Package]()

    def keep(package: Package, file: BinaryIO) -> None:
        blobs.put_blob(file, package.digest, check=True)
        replaced.add(package)

    try:
        failed = download_debs(list(bad), archive, keep)
    except (AccessDenied, ArchiveUnreachable) as problem:
        failed = {package: problem for package in bad if package not in replaced}
    return {package: f"{problem.message} ({problem.where})" for package, problem in failed.items()}


def _beyond_help(reasons: Mapping[Package, str], bad: UnusablePackages) -> BuildError:
    state = {package: "missing" if isinstance(bad[package], BlobMissing) else "damaged" for package in reasons}
    return damaged_debs([(deb.file_name, deb.digest, f"it is {state[deb]}; {why}") for deb, why in reasons.items()])
