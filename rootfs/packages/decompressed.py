"""Debs without compression, kept from one build to the next: xz is slow, and few packages change in a night.

A file is named after its deb and after what it is itself, so one that was damaged is made anew. What goes wrong with
keeping is no error: it is a saving.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rootfs.lock.lock import Package
from rootfs.packages import deb
from rootfs.packages.deb import DebInfo
from rootfs.packages.errors import BadDeb
from rootfs.system.atomic_file import copy_file
from rootfs.system.cache import prune
from rootfs.system.errors import DiskFull

THREADS = 2
LARGEST = 1 << 30  # bytes that stay for the next time
SHARE = LARGEST // 4  # bytes of one build that stay at most: more would drive out those of all others


@dataclass(frozen=True)
class DecompressedDeb:
    """A package's deb without compression: the file, and what it says."""

    package: Package
    path: Path
    said: DebInfo


Decompressing = Callable[[], list[Future[DecompressedDeb]]]  # some that are being made, from the first call on


@contextlib.contextmanager
def decompressing(packages: Iterable[Package], debs: Path, folder: Path, kept: Path | None) -> Iterator[Decompressing]:
    """From when it is first asked until the block ends, write debs without compression to `folder`, which is made.

    dpkg would decompress them with one thread, one package after the other. What is `kept` of an earlier time saves
    work, and these are kept for the next. Each may raise BadDeb.
    """
    folder.mkdir()
    with ThreadPoolExecutor(THREADS) as pool:

        @cache
        def begun() -> list[Future[DecompressedDeb]]:
            wanted = ((package, debs / package.file_name, folder / package.file_name, kept) for package in packages)
            made = [pool.submit(decompress, *each) for each in wanted]
            if kept:
                pool.submit(lambda: save_to_cache([each.result() for each in made], kept))
            return made

        try:
            yield begun
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def decompress(package: Package, packed: Path, path: Path, kept: Path | None) -> DecompressedDeb:
    """Write the deb without compression to `path`: the one that is kept, else from the packed one. Raises BadDeb."""
    said = _copied(package, path, kept) if kept else None
    return DecompressedDeb(package, path, said or deb.decompress_deb(packed, path))


def _copied(package: Package, path: Path, kept: Path) -> DebInfo | None:
    for found in kept.glob(f"{package.sha256}-*.deb"):
        with contextlib.suppress(OSError):
            shutil.copyfile(found, path)
            with contextlib.suppress(BadDeb):
                said = deb.describe_deb(path, found.name)
                if found.name == _name(package, said):
                    os.utime(found)
                    return said
            found.unlink()
    return None


def save_to_cache(made: Collection[DecompressedDeb], kept: Path) -> None:
    """Keep these for the next time, unless they are too many, and let go of what was not used for longest."""
    if sum(each.said.size for each in made) > SHARE:
        return
    with contextlib.suppress(OSError, DiskFull):
        kept.mkdir(parents=True, exist_ok=True)
        for each in made:
            if not (path := kept / _name(each.package, each.said)).exists():
                copy_file(each.path, path)
        prune(kept, max_bytes=LARGEST)


def _name(package: Package, said: DebInfo) -> str:
    return f"{package.sha256}-{said.sum}.deb"
