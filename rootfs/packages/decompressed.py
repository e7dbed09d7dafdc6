"""A cache of debs without compression: decompressing xz is slow, and few packages change from build to build.

A file's name has the digests of the deb and of the file itself, so a damaged one is found and replaced. Errors of the
cache are ignored.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rootfs.lock.lock import Package
from rootfs.packages import deb
from rootfs.packages.deb import DebInfo
from rootfs.packages.errors import BadDeb
from rootfs.system.atomic_file import copy_file
from rootfs.system.cache import prune
from rootfs.system.errors import DiskFull

THREADS = 2
MAX_CACHE = 1 << 30  # bytes of the cache
MAX_BUILD = MAX_CACHE // 4  # bytes: a larger build is not cached, as it would push out all others


@dataclass(frozen=True)
class DecompressedDeb:
    """A package's deb without compression: its path and its metadata."""

    package: Package
    path: Path
    info: DebInfo


Decompressing = Callable[[], list[Future[DecompressedDeb]]]  # starts at the first call


@contextlib.contextmanager
def decompressing(
    packages: Iterable[Package], debs: Path, folder: Path, cache_folder: Path | None
) -> Iterator[Decompressing]:
    """Decompress debs into `folder`, in threads, from the first call of the yielded function until the block ends.

    dpkg would decompress them in one thread. Later builds reuse `cache_folder`. Each result may raise BadDeb.
    """
    folder.mkdir()
    with ThreadPoolExecutor(THREADS) as pool:

        @functools.cache
        def start() -> list[Future[DecompressedDeb]]:
            jobs = (
                (package, debs / package.file_name, folder / package.file_name, cache_folder) for package in packages
            )
            decompressed = [pool.submit(decompress, *each) for each in jobs]
            if cache_folder:
                pool.submit(lambda: save_to_cache([each.result() for each in decompressed], cache_folder))
            return decompressed

        try:
            yield start
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def decompress(package: Package, compressed: Path, path: Path, cache_folder: Path | None) -> DecompressedDeb:
    """Write a deb without compression to `path`, from the cache or by decompressing it. Raises BadDeb."""
    info = _copy_from_cache(package, path, cache_folder) if cache_folder else None
    return DecompressedDeb(package, path, info or deb.decompress_deb(compressed, path))


def _copy_from_cache(package: Package, path: Path, cache_folder: Path) -> DebInfo | None:
    for found in cache_folder.glob(f"{package.sha256}-*.deb"):
        with contextlib.suppress(OSError):
            shutil.copyfile(found, path)
            with contextlib.suppress(BadDeb):
                info = deb.describe_deb(path, found.name)
                if found.name == _cache_name(package, info):
                    os.utime(found)
                    return info
            found.unlink()
    return None


def save_to_cache(decompressed: Collection[DecompressedDeb], cache_folder: Path) -> None:
    """Copy debs to the cache, unless they are too large, and prune it."""
    if sum(each.info.size for each in decompressed) > MAX_BUILD:
        return
    with contextlib.suppress(OSError, DiskFull):
        cache_folder.mkdir(parents=True, exist_ok=True)
        for each in decompressed:
            if not (path := cache_folder / _cache_name(each.package, each.info)).exists():
                copy_file(each.path, path)
        prune(cache_folder, max_bytes=MAX_CACHE)


def _cache_name(package: Package, info: DebInfo) -> str:
    return f"{package.sha256}-{info.sum}.deb"
