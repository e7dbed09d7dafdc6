"""Download debs from archives: in parallel, resumed after an interruption, and checked while they arrive."""

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
from rootfs.system.disk import disk_full
from rootfs.system.stop import run_stoppable

PARALLEL = 8  # downloads at a time, each over a persistent connection
PAUSES = (0.5, 2.0)  # seconds before the second and the third try
RETRY_STATUSES = (408, 425, 429)  # besides 5xx: these may succeed when tried again
IDENTITY_ENCODING = {"Accept-Encoding": "identity"}
NO_CACHE = {"Cache-Control": "no-cache"}  # a proxy could have a damaged copy

Keep = Callable[[Package, BinaryIO], None]


@dataclass(frozen=True)
class DebSource:
    """How debs are fetched: `mirror` maps an archive's address to its mirror, `folder` has partial downloads."""

    mirror: Callable[[str], str]
    folder: Path
    log: Log
    transfers: Transfers = ANONYMOUS

    def address(self, package: Package) -> str:
        """The address of a deb, encoded as apt does it: some mirrors read a plain `+` as a space."""
        return f"{self.mirror(package.archive).rstrip('/')}/{quote(package.path, safe='/~')}"


class _TemporaryFailure(Exception):
    """A failure that may not happen when it is tried again."""


def download_debs(packages: Sequence[Package], source: DebSource, keep: Keep) -> dict[Package, BaseforgeError]:
    """Download debs and pass each to `keep`, which runs in threads. Returns the debs that this archive does not have.

    Raises ArchiveUnreachable after three tries, AccessDenied after one, DiskFull and what `keep` raises. Debs that are
    complete by then were passed to `keep`; partial downloads stay in the folder for the next run.
    """
    with disk_full(source.folder):
        source.folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_stoppable(_download_all(packages, source, keep))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _download_all(packages: Sequence[Package], source: DebSource, keep: Keep) -> dict[Package, BaseforgeError]:
    """Tasks that share one list; not threads: an interrupt would have to wait for them."""
    remaining, failed = iter(packages), dict[Package, BaseforgeError]()

    async def work(client: httpx.AsyncClient) -> None:
        for package in remaining:
            try:
                await _download(client, package, source, keep)
            except (DebGone, DebMismatch) as problem:
                failed[package] = problem

    async with source.transfers.client() as client, asyncio.TaskGroup() as workers:
        for _ in range(min(PARALLEL, len(packages))):
            workers.create_task(work(client))
    return failed


async def _download(client: httpx.AsyncClient, package: Package, source: DebSource, keep: Keep) -> None:
    path = source.folder / f"{package.sha256}.partial"
    with open_partial(path) as file:
        try:
            with disk_full(source.folder):
                partial = PartialDownload(file)
                await _download_checked(client, package, source, partial)
        except (DebGone, DebMismatch):
            path.unlink(missing_ok=True)
            raise
        await asyncio.to_thread(keep, package, partial.whole())
        path.unlink(missing_ok=True)


async def _download_checked(
    client: httpx.AsyncClient, package: Package, source: DebSource, partial: PartialDownload
) -> None:
    """Download a deb. If its digest is wrong, download it once more from the beginning."""
    try:
        await _download_rest(client, package, source, partial, {})
    except DebMismatch as mismatch:
        source.log(f"{package.file_name}: {mismatch.found}: again from the beginning")
        partial.restart()
        await _download_rest(client, package, source, partial, NO_CACHE)


async def _download_rest(
    client: httpx.AsyncClient,
    package: Package,
    source: DebSource,
    partial: PartialDownload,
    extra_headers: Mapping[str, str],
) -> None:
    address = source.address(package)
    for delay in (*PAUSES, None):
        try:
            if partial.size < package.size:
                async with source.transfers.paced() as arrived:
                    await _receive(client, address, package, partial, extra_headers, arrived)
            break
        except (httpx.TransportError, _TemporaryFailure) as error:
            if denied := proxy_denial(error, address):
                raise denied from error
            if delay is None or isinstance(error, httpx.UnsupportedProtocol):
                raise ArchiveUnreachable(address, failure_reason(error)) from error
            source.log(f"{package.file_name}: {failure_reason(error)}: again in {delay:g} s")
            await asyncio.sleep(delay)
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
    extra_headers: Mapping[str, str],
    arrived: Callable[[int], None],
) -> None:
    """Receive the rest of a deb. `arrived` is called with the size of each chunk."""
    async with client.stream(
        "GET", address, headers={**IDENTITY_ENCODING, **partial.headers, **extra_headers}
    ) as response:
        _check_response(response, package, address, partial)
        async for data in response.aiter_raw():
            if partial.size + len(data) > package.size:
                raise _mismatch(package, address, f"more than {package.size} bytes")
            partial.add(data)
            arrived(len(data))
    if partial.size < package.size:
        raise _TemporaryFailure(f"it broke off after {partial.size} of {package.size} bytes")


def _check_response(response: httpx.Response, package: Package, address: str, partial: PartialDownload) -> None:
    """Check the response's status and headers. If the whole file follows, the partial download is restarted."""
    status = response.status_code
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise DebGone(f"{package.name} {package.version}", address)
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and partial.size:
        raise _mismatch(package, address, f"a file without a byte {partial.size}")
    check_access(response, address)
    if status in RETRY_STATUSES or response.is_server_error:
        raise _TemporaryFailure(f"it answers {status} {response.reason_phrase}")
    if status == httpx.codes.PARTIAL_CONTENT:
        expected, found = (
            f"bytes {partial.size}-{package.size - 1}/{package.size}",
            response.headers.get("content-range"),
        )
        if found != expected:
            raise _mismatch(package, address, f"a part of another file ({found})")
    elif status == httpx.codes.OK:
        partial.restart(last_modified(response))
        if (length := response.headers.get("content-length", str(package.size))) != str(package.size):
            raise _mismatch(package, address, f"{length} bytes")
    else:
        response.raise_for_status()
        raise ArchiveUnreachable(address, f"it answers {status} {response.reason_phrase}")


def last_modified(response: httpx.Response) -> int:
    """The Last-Modified header in seconds since 1970; 0 if there is none."""
    try:
        return max(0, int(parsedate_to_datetime(response.headers["last-modified"]).timestamp()))
    except (KeyError, ValueError, OverflowError):
        return 0
