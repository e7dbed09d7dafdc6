"""Put a recipe's tarball into the pool, from the recipe's folder or from its address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx

from rootfs.apt.transfer import ANONYMOUS, Transfers, check_access, failure_reason, proxy_denial
from rootfs.errors import BlobDamaged, NetworkFailure
from rootfs.packages.download import IDENTITY_ENCODING, PAUSES, RETRY_STATUSES, last_modified
from rootfs.packages.errors import another_archive, missing_debs, no_archive
from rootfs.packages.pool import BlobStore
from rootfs.packages.resumable import PartialDownload, open_partial
from rootfs.process.run import Log
from rootfs.recipe.sections import TarballKeys, is_address
from rootfs.system.cache import file_state
from rootfs.system.digests import sha256_of_bytes, sha256_of_file
from rootfs.system.disk import disk_full
from rootfs.system.stop import run_stoppable
from rootfs.tarball.errors import TarballRefused


def archive_digest(recipe: TarballKeys, folder: Path) -> str:
    """The digest of a recipe's tarball: the one in the recipe, or else that of the file in its folder.

    Raises InputError, BuildError where the file is another one than the recipe says.
    """
    expected, file = recipe.sha256, folder / recipe.source
    if is_address(recipe.source) or (expected and not file.exists()):
        return f"sha256:{expected}"
    try:
        found = _cached_sha256(file, file_state(file))
    except OSError as error:
        raise no_archive(str(file), error.strerror or str(error)) from error
    if expected and found != expected:
        raise another_archive(str(file), expected, found)
    return f"sha256:{found}"


@lru_cache
def _cached_sha256(file: Path, _state: tuple[int, int, int]) -> str:
    """The file's sha256 in hex, cached until the file changes."""
    return sha256_of_file(file)


@dataclass(frozen=True)
class TarballSource:
    """A recipe's tarball, and the pool that stores it. `cache` is a folder for partial downloads."""

    recipe: TarballKeys
    folder: Path
    blobs: BlobStore
    cache: Path
    offline: bool
    log: Log
    transfers: Transfers = ANONYMOUS

    def put_in_pool(self, digest: str) -> int:
        """Make sure that the pool has the tarball. Returns how many bytes were downloaded.

        Raises InputError, NetworkFailure, BuildError when `offline`, TarballRefused where it is
        larger than the recipe allows it to be unpacked, and what the blobs raise.
        """
        if self.blobs.has_blob(digest):
            return 0
        return self._store(digest)

    def _store(self, digest: str) -> int:
        """Store the tarball in the pool, in place of a damaged one. Returns how many bytes were downloaded."""
        source, file = self.recipe.source, self.folder / self.recipe.source
        if is_address(source):
            if self.offline:
                raise missing_debs([f"{source} ({digest})"])
            request = DownloadRequest(source, self.recipe.largest, self.cache, self.log, self.transfers)
            return download_file(request, lambda partial: self._store_checked(partial, digest))
        if not file.is_file():
            raise no_archive(str(file), f"it is neither there nor in the pool ({digest})")
        self.blobs.put_blob(file, digest, check=True)
        return 0

    def write(self, digest: str, path: Path) -> None:
        """Write the tarball to `path`. A damaged one in the pool is replaced. Raises as `put_in_pool` does."""
        try:
            self.blobs.fetch_blob(digest, path)
        except BlobDamaged as damaged:
            self.log(f"{self.recipe.source}: {damaged.message}")
            self._store(digest)
            self.blobs.fetch_blob(digest, path)

    def _store_checked(self, partial: PartialDownload, digest: str) -> None:
        if f"sha256:{partial.sha256}" != digest:
            raise another_archive(self.recipe.source, digest.removeprefix("sha256:"), partial.sha256)
        self.blobs.put_blob(partial.whole(), digest, check=True)


@dataclass(frozen=True)
class DownloadRequest:
    """A file of at most `largest` bytes at an address. `cache` is a folder for partial downloads."""

    address: str
    largest: int
    cache: Path
    log: Log
    transfers: Transfers = ANONYMOUS


def download_file(request: DownloadRequest, keep: Callable[[PartialDownload], object]) -> int:
    """Download a file and pass it to `keep`. After an interruption the next try or run continues.

    Returns its size. Raises NetworkFailure after three tries, AccessDenied and InputError after one,
    TarballRefused where it is too large.
    """
    with disk_full(request.cache):
        request.cache.mkdir(parents=True, exist_ok=True)
    path = request.cache / f"{sha256_of_bytes(request.address.encode())}.download"
    with open_partial(path) as file:
        partial = PartialDownload(file)
        run_stoppable(_download_rest(request, partial))
        path.unlink(missing_ok=True)  # complete: no later run continues it
        keep(partial)
        return partial.size


async def _download_rest(request: DownloadRequest, partial: PartialDownload) -> None:
    for delay in (*PAUSES, None):
        try:
            with disk_full(request.cache):
                await _receive(request, partial)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if denied := proxy_denial(error, request.address):
                raise denied from error
            if not _may_succeed(error):
                raise no_archive(request.address, failure_reason(error)) from error
            if delay is None:
                raise NetworkFailure(
                    f"the archive could not be fetched: {failure_reason(error)}",
                    where=request.address,
                    hint="Check the network and the proxy (http_proxy), then build again: the download continues. "
                    "If it is always slow, name another address.",
                ) from error
            request.log(f"{request.address}: {failure_reason(error)}: again in {delay:g} s")
            await asyncio.sleep(delay)
        else:
            return


def _may_succeed(error: Exception) -> bool:
    """Whether it may succeed when it is tried again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error or error.response.status_code in RETRY_STATUSES
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


async def _receive(request: DownloadRequest, partial: PartialDownload) -> None:
    headers = {**IDENTITY_ENCODING, **partial.headers}
    async with (
        request.transfers.paced() as arrived,
        request.transfers.client() as client,
        client.stream("GET", request.address, headers=headers) as response,
    ):
        _check_response(response, partial, request.address)
        async for data in response.aiter_raw():
            partial.add(data)
            arrived(len(data))
            if partial.size > request.largest:
                raise TarballRefused.too_large(request.largest)


def _check_response(response: httpx.Response, partial: PartialDownload, address: str) -> None:
    """Check the response's status and headers. If the whole file follows, the partial download is restarted."""
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and partial.size:
        partial.restart()
        raise httpx.RemoteProtocolError("it has another file now")
    check_access(response, address)
    response.raise_for_status()
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        partial.restart(last_modified(response))
    elif not response.headers.get("content-range", "").startswith(f"bytes {partial.size}-"):
        partial.restart()
        raise httpx.RemoteProtocolError("it sends another part than was asked for")
