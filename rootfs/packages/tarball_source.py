"""A tarball into the pool: out of the recipe's folder or from its address, checked as it comes."""

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
from rootfs.process.stop import run_stoppable
from rootfs.recipe.sections import TarballKeys, is_address
from rootfs.system.cache import file_state
from rootfs.system.digests import sha256_of_bytes, sha256_of_file
from rootfs.system.disk import disk_full
from rootfs.tarball.errors import TarballRefused


def archive_digest(recipe: TarballKeys, folder: Path) -> str:
    """The digest of the archive that a recipe means: what it says, else that of the file in its folder.

    Raises InputError, BuildError where the file is another one than the recipe says.
    """
    said, file = recipe.sha256, folder / recipe.source
    if is_address(recipe.source) or (said and not file.exists()):
        return f"sha256:{said}"
    try:
        found = _hashed(file, file_state(file))
    except OSError as error:
        raise no_archive(str(file), error.strerror or str(error)) from error
    if said and found != said:
        raise another_archive(str(file), said, found)
    return f"sha256:{found}"


@lru_cache
def _hashed(file: Path, _state: tuple[int, int, int]) -> str:
    """The file's sha256 in hex, read again only when it has changed."""
    return sha256_of_file(file)


@dataclass(frozen=True)
class TarballSource:
    """Where a recipe's archive is, and the pool that keeps it; `cache` is a folder for what has come of it so far."""

    recipe: TarballKeys
    folder: Path
    blobs: BlobStore
    cache: Path
    offline: bool
    log: Log
    transfers: Transfers = ANONYMOUS

    def into_pool(self, digest: str) -> int:
        """See that the pool has the archive; how many bytes came from its address.

        Raises InputError, NetworkFailure, BuildError when `offline`, TarballRefused where it is
        larger than the recipe allows it to be unpacked, and what the blobs raise.
        """
        if self.blobs.has_blob(digest):
            return 0
        return self._put(digest)

    def _put(self, digest: str) -> int:
        """Keep the archive in the pool, in place of a damaged one; how many bytes came from its address."""
        source, file = self.recipe.source, self.folder / self.recipe.source
        if is_address(source):
            if self.offline:
                raise missing_debs([f"{source} ({digest})"])
            wanted = DownloadRequest(source, self.recipe.largest, self.cache, self.log, self.transfers)
            return download_file(wanted, lambda got: self._keep(got, digest))
        if not file.is_file():
            raise no_archive(str(file), f"it is neither there nor in the pool ({digest})")
        self.blobs.put_blob(file, digest, check=True)
        return 0

    def lay_out(self, digest: str, path: Path) -> None:
        """Write the archive to `path`; one that went bad in the pool is had again. Raises as `into_pool` does."""
        try:
            self.blobs.fetch_blob(digest, path)
        except BlobDamaged as damaged:
            self.log(f"{self.recipe.source}: {damaged.message}")
            self._put(digest)
            self.blobs.fetch_blob(digest, path)

    def _keep(self, got: PartialDownload, digest: str) -> None:
        if f"sha256:{got.sha256}" != digest:
            raise another_archive(self.recipe.source, digest.removeprefix("sha256:"), got.sha256)
        self.blobs.put_blob(got.whole(), digest, check=True)


@dataclass(frozen=True)
class DownloadRequest:
    """A file of at most `largest` bytes at an address; `cache` is a folder for what has come of it so far."""

    address: str
    largest: int
    cache: Path
    log: Log
    transfers: Transfers = ANONYMOUS


def download_file(wanted: DownloadRequest, keep: Callable[[PartialDownload], object]) -> int:
    """Download a file and hand it to `keep`; where it breaks off, the next try, or run, goes on from there.

    Returns its size. Raises NetworkFailure after three tries, AccessDenied and InputError after one,
    TarballRefused where it is too large.
    """
    with disk_full(wanted.cache):
        wanted.cache.mkdir(parents=True, exist_ok=True)
    path = wanted.cache / f"{sha256_of_bytes(wanted.address.encode())}.download"
    with open_partial(path) as file:
        got = PartialDownload(file)
        run_stoppable(_complete(wanted, got))
        path.unlink(missing_ok=True)  # right or wrong, nobody goes on from here
        keep(got)
        return got.size


async def _complete(wanted: DownloadRequest, got: PartialDownload) -> None:
    for pause in (*PAUSES, None):
        try:
            with disk_full(wanted.cache):
                await _receive(wanted, got)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if denied := proxy_denial(error, wanted.address):
                raise denied from error
            if not _may_pass(error):
                raise no_archive(wanted.address, failure_reason(error)) from error
            if pause is None:
                raise NetworkFailure(
                    f"the archive could not be fetched: {failure_reason(error)}",
                    where=wanted.address,
                    hint="Check the network and the proxy (http_proxy), then build again: the download continues. "
                    "If it is always slow, name another address.",
                ) from error
            wanted.log(f"{wanted.address}: {failure_reason(error)}: again in {pause:g} s")
            await asyncio.sleep(pause)
        else:
            return


def _may_pass(error: Exception) -> bool:
    """Whether it may be different in a moment."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error or error.response.status_code in RETRY_STATUSES
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


async def _receive(wanted: DownloadRequest, got: PartialDownload) -> None:
    headers = {**IDENTITY_ENCODING, **got.headers}
    async with (
        wanted.transfers.paced() as arrived,
        wanted.transfers.client() as client,
        client.stream("GET", wanted.address, headers=headers) as answer,
    ):
        _look(answer, got, wanted.address)
        async for data in answer.aiter_raw():
            got.add(data)
            arrived(len(data))
            if got.size > wanted.largest:
                raise TarballRefused.too_large(wanted.largest)


def _look(answer: httpx.Response, got: PartialDownload, address: str) -> None:
    """What the answer's head says: that the rest follows, or all of it (then the partial begins anew), or neither."""
    if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and got.size:
        got.restart()
        raise httpx.RemoteProtocolError("it has another file now")
    check_access(answer, address)
    answer.raise_for_status()
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        got.restart(last_modified(answer))
    elif not answer.headers.get("content-range", "").startswith(f"bytes {got.size}-"):
        got.restart()
        raise httpx.RemoteProtocolError("it sends another part than was asked for")
