"""Debs from an archive to files: in parallel, resumed where an earlier try broke off, checked as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import httpx

from rootfs.apt.errors import ArchiveUnreachable
from rootfs.apt.transfer import ANONYMOUS, Transfers, check_access, failure_reason, proxy_denial
from rootfs.errors import BaseforgeError
from rootfs.lock.lock import Package
from rootfs.packages.errors import DebGone, DebMismatch
from rootfs.packages.resumable import PartialDownload, open_partial
from rootfs.process.run import Log
from rootfs.process.stop import run_stoppable
from rootfs.system.disk import disk_full

PARALLEL = 8  # debs at a time, each over a connection that is kept open
PAUSES = (0.5, 2.0)  # seconds before the second and the third try
RETRY_STATUSES = (408, 425, 429)  # besides 5xx: answers that may be others in a moment
IDENTITY_ENCODING = {"Accept-Encoding": "identity"}
NO_CACHE = {"Cache-Control": "no-cache"}  # a proxy's damaged copy must not be had twice

Keep = Callable[[Package, BinaryIO], None]


@dataclass(frozen=True)
class DebSource:
    """How the debs of a lock are fetched: `mirror` gives the address to use for an archive's own."""

    mirror: Callable[[str], str]
    folder: Path
    log: Log
    transfers: Transfers = ANONYMOUS

    def address(self, package: Package) -> str:
        """Where the deb is; encoded as apt does, for some mirrors take a plain `+` for a space."""
        return f"{self.mirror(package.archive).rstrip('/')}/{quote(package.path, safe='/~')}"


class _Later(Exception):
    """An answer that may be another one on the next try."""


def download_debs(packages: Sequence[Package], archive: DebSource, keep: Keep) -> dict[Package, BaseforgeError]:
    """Fetch debs and hand each to `keep`, which runs in threads; returns those that cannot be had from this archive.

    Raises ArchiveUnreachable after three tries, AccessDenied after one, DiskFull and what `keep` raises; the debs that
    came by then are kept, and parts of others stay in the folder for the next run.
    """
    with disk_full(archive.folder):
        archive.folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_stoppable(_download_all(packages, archive, keep))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _download_all(packages: Sequence[Package], archive: DebSource, keep: Keep) -> dict[Package, BaseforgeError]:
    """Workers that share one list; not threads, as an interrupt would have to wait for those."""
    waiting, failed = iter(packages), dict[Package, BaseforgeError]()

    async def work(client: httpx.AsyncClient) -> None:
        for package in waiting:
            try:
                await _download(client, package, archive, keep)
            except (DebGone, DebMismatch) as problem:
                failed[package] = problem

    async with archive.transfers.client() as client, asyncio.TaskGroup() as workers:
        for _ in range(min(PARALLEL, len(packages))):
            workers.create_task(work(client))
    return failed


async def _download(client: httpx.AsyncClient, package: Package, archive: DebSource, keep: Keep) -> None:
    path = archive.folder / f"{package.sha256}.partial"
    with open_partial(path) as file:
        try:
            with disk_full(archive.folder):
                partial = PartialDownload(file)
                await _checked(client, package, archive, partial)
        except (DebGone, DebMismatch):
            path.unlink(missing_ok=True)
            raise
        await asyncio.to_thread(keep, package, partial.whole())
        path.unlink(missing_ok=True)


async def _checked(client: httpx.AsyncClient, package: Package, archive: DebSource, partial: PartialDownload) -> None:
    """The whole deb; where its bytes are wrong, once more from the beginning."""
    try:
        await _complete(client, package, archive, partial, {})
    except DebMismatch as mismatch:
        archive.log(f"{package.file_name}: {mismatch.found}: again from the beginning")
        partial.restart()
        await _complete(client, package, archive, partial, NO_CACHE)


async def _complete(
    client: httpx.AsyncClient, package: Package, archive: DebSource, partial: PartialDownload, more: Mapping[str, str]
) -> None:
    address = archive.address(package)
    for pause in (*PAUSES, None):
        try:
            if partial.size < package.size:
                async with archive.transfers.paced() as arrived:
                    await _receive(client, address, package, partial, more, arrived)
            break
        except (httpx.TransportError, _Later) as error:
            if denied := proxy_denial(error, address):
                raise denied from error
            if pause is None or isinstance(error, httpx.UnsupportedProtocol):
                raise ArchiveUnreachable(address, failure_reason(error)) from error
            archive.log(f"{package.file_name}: {failure_reason(error)}: again in {pause:g} s")
            await asyncio.sleep(pause)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ArchiveUnreachable(address, failure_reason(error)) from error
    if partial.sha256 != package.sha256:
        raise _mismatch(package, address, f"{partial.sha256} ({partial.size} bytes)")


def _mismatch(package: Package, address: str, found: str) -> DebMismatch:
    return DebMismatch(f"{package.name} {package.version}", f"{package.sha256} ({package.size} bytes)", found, address)


async def _receive(
    client: httpx.AsyncClient,
    address: str,
    package: Package,
    partial: PartialDownload,
    more: Mapping[str, str],
    arrived: Callable[[int], None],
) -> None:
    """The rest of the deb, as far as it comes; `arrived` is told how much."""
    async with client.stream("GET", address, headers={**IDENTITY_ENCODING, **partial.headers, **more}) as answer:
        _look(answer, package, address, partial)
        async for data in answer.aiter_raw():
            if partial.size + len(data) > package.size:
                raise _mismatch(package, address, f"more than {package.size} bytes")
            partial.add(data)
            arrived(len(data))
    if partial.size < package.size:
        raise _Later(f"it broke off after {partial.size} of {package.size} bytes")


def _look(answer: httpx.Response, package: Package, address: str, partial: PartialDownload) -> None:
    """What the answer's head says: that the rest follows, or all of it (then the partial begins anew), or neither."""
    status = answer.status_code
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise DebGone(f"{package.name} {package.version}", address)
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and partial.size:
        raise _mismatch(package, address, f"a file without a byte {partial.size}")
    check_access(answer, address)
    if status in RETRY_STATUSES or answer.is_server_error:
        raise _Later(f"it answers {status} {answer.reason_phrase}")
    if status == httpx.codes.PARTIAL_CONTENT:
        expected, found = f"bytes {partial.size}-{package.size - 1}/{package.size}", answer.headers.get("content-range")
        if found != expected:
            raise _mismatch(package, address, f"a part of another file ({found})")
    elif status == httpx.codes.OK:
        partial.restart(last_modified(answer))
        if (length := answer.headers.get("content-length", str(package.size))) != str(package.size):
            raise _mismatch(package, address, f"{length} bytes")
    else:
        answer.raise_for_status()
        raise ArchiveUnreachable(address, f"it answers {status} {answer.reason_phrase}")


def last_modified(answer: httpx.Response) -> int:
    """When the archive's file was changed, in seconds since 1970; 0 where it does not say."""
    try:
        return max(0, int(parsedate_to_datetime(answer.headers["last-modified"]).timestamp()))
    except (KeyError, ValueError, OverflowError):
        return 0
