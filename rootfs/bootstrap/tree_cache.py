"""The tree cache: tars of the trees of essential and of base packages, which may be lost or damaged at any time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import IO

from rootfs.lock.lock import Package
from rootfs.process.host import package_versions
from rootfs.system.atomic_file import copy_file
from rootfs.system.cache import file_state, prune
from rootfs.system.digests import blake3_of_file, canonical_digest
from rootfs.system.errors import DiskFull, LockHeld
from rootfs.system.locks import locked

REVISION = 5  # raised when the same key has to mean another tar
MAX_TREES = 24  # two for each suite and variant
MAX_BYTES = 4 << 30  # of all tars
LOCK_TIMEOUT = 600.0  # seconds to wait for another build that makes the same tree
THREAD_NAME = "save tree"  # of the threads that save trees
LOWEST_PRIORITY = 19  # a nice value
SAVE_DELAY = 2.0  # seconds, as packing needs every processor; not longer, as other builds may wait for the tree

_verified: dict[Path, tuple[int, int, int]] = {}  # tars that this process has verified, with their state at that time


def cache_key(kind: str, packages: Iterable[Package], bootstrapper: str, architecture: str, suite: str) -> str:
    """The key of a tree: its kind, and a digest of everything that decides its bytes. Raises MachineError."""
    inputs = {
        "packages": [(package.sha256, package.essential) for package in packages],
        "tools": package_versions(("apt", "dpkg", "tar", bootstrapper)),
        "architecture": architecture,
        "suite": suite,
        "revision": REVISION,
    }
    return f"{kind}-{canonical_digest(inputs).removeprefix('sha256:')}"


@contextlib.contextmanager
def locked_key(folder: Path, key: str) -> Iterator[None]:
    """Lock a key while the block lasts: other builds wait, and then find the tree cached.

    Where the folder cannot be written to, or another build takes too long, the tree is made twice.
    """
    with contextlib.ExitStack() as locks:
        with contextlib.suppress(OSError, LockHeld):
            path = folder / f"{key[: key.index('-') + 2]}.lock"  # few files, which are not removed
            locks.enter_context(locked(path, wait=LOCK_TIMEOUT))
        yield


def find_tree(folder: Path, key: str) -> Path | None:
    """The cached tar of this key, verified by its digest; a damaged one is removed."""
    for path in folder.glob(f"{key}-*.tar"):
        with contextlib.suppress(OSError):
            if _verified.get(path) == file_state(path) or path.stem == f"{key}-{blake3_of_file(path)}":
                os.utime(path)
                _verified[path] = file_state(path)
                return path
            path.unlink()
    return None


def save_tree(folder: Path, key: str, made: Path) -> None:
    """Save a copy of a tar under this key, and remove those that were not used for longest.

    Where the folder cannot be written to, or the disk is full, nothing is saved: the next build makes the tree again.
    """
    with contextlib.suppress(OSError, DiskFull):
        folder.mkdir(parents=True, exist_ok=True)
        copy_file(made, folder / f"{key}-{blake3_of_file(made)}.tar")
        prune(folder, pattern="*.tar", max_bytes=MAX_BYTES, max_entries=MAX_TREES)


def find_or_lock(folder: Path, key: str, locks: contextlib.ExitStack) -> Path | None:
    """The cached tar of this key; where there is none, the key is locked until `locks` is closed."""
    with contextlib.ExitStack() as alone:
        alone.enter_context(locked_key(folder, key))
        if not (found := find_tree(folder, key)):
            locks.push(alone.pop_all())
        return found


def save_in_background(folder: Path, made: Iterable[Path], locks: contextlib.ExitStack, used: threading.Event) -> None:
    """Save tars, named by their keys, in a thread of low priority, when their tree has been `used` or soon after.

    The tars may be removed meanwhile. Their `locks` are released when they are saved; until then the process stays.
    """
    with contextlib.ExitStack() as opened:
        files = {tar.stem: opened.enter_context(tar.open("rb")) for tar in made}
        opened.push(locks.pop_all())
        arguments = (folder, files, opened.pop_all(), used)
        # A thread inherits this from the one that starts it, which may be one that the process does not wait for.
        Thread(target=_save_all, args=arguments, name=THREAD_NAME, daemon=False).start()


def _save_all(folder: Path, files: Mapping[str, IO[bytes]], locks: contextlib.ExitStack, used: threading.Event) -> None:
    with locks:
        used.wait(SAVE_DELAY)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)  # of the thread, on Linux
        for key, file in files.items():
            save_tree(folder, key, Path(f"/proc/self/fd/{file.fileno()}"))
