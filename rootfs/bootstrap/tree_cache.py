"""Trees of essential or base packages, as tars, kept from one build to the next: a memo that may be lost or damaged."""

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

REVISION = 4  # raised when the same key has to mean another tar
MAX_TREES = 24  # tars: two for each suite and variant
MAX_BYTES = 4 << 30  # bytes of them all
LOCK_TIMEOUT = 600.0  # seconds to wait for another run that makes the same tar
THREAD_NAME = "keeping"  # the name of the threads that do it
LOWEST_PRIORITY = 19  # the nice value of whoever waits for everybody
SAVE_DELAY = 2.0  # seconds: who packs a tree needs every processor, and others may be waiting for a kept one

_verified: dict[Path, tuple[int, int, int]] = {}  # tars that this process has read, as they were then


def cache_key(kind: str, packages: Iterable[Package], engine: str, architecture: str, suite: str) -> str:
    """What decides the tar of a tree of these packages: its kind, and a digest in hex. Raises MachineError."""
    said = {
        "packages": [(package.sha256, package.essential) for package in packages],
        "tools": package_versions(("apt", "dpkg", "tar", engine)),
        "architecture": architecture,
        "suite": suite,
        "revision": REVISION,
    }
    return f"{kind}-{canonical_digest(said).removeprefix('sha256:')}"


@contextlib.contextmanager
def locked_key(folder: Path, key: str) -> Iterator[None]:
    """While the block lasts nobody else makes the tar of this key: who waits finds it kept.

    A folder that cannot be written to holds nobody up, nor does whoever takes too long: then the tar is made twice.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, LockHeld):
            path = folder / f"{key[: key.index('-') + 2]}.lock"  # few files, which stay
            held.enter_context(locked(path, wait=LOCK_TIMEOUT))
        yield


def find_tree(folder: Path, key: str) -> Path | None:
    """The kept tar of this key, if it is still what was kept; one that is damaged goes."""
    for path in folder.glob(f"{key}-*.tar"):
        with contextlib.suppress(OSError):
            if _verified.get(path) == file_state(path) or path.stem == f"{key}-{blake3_of_file(path)}":
                os.utime(path)
                _verified[path] = file_state(path)
                return path
            path.unlink()
    return None


def save_tree(folder: Path, key: str, made: Path) -> None:
    """Keep a copy of a tar under this key, and let go of those that were not used for longest.

    A folder that cannot be written to, or is full, keeps nothing: the next build makes the tar again.
    """
    with contextlib.suppress(OSError, DiskFull):
        folder.mkdir(parents=True, exist_ok=True)
        copy_file(made, folder / f"{key}-{blake3_of_file(made)}.tar")
        prune(folder, pattern="*.tar", max_bytes=MAX_BYTES, max_entries=MAX_TREES)


def find_or_lock(folder: Path, key: str, held: contextlib.ExitStack) -> Path | None:
    """The kept tar of this key; where there is none, nobody else makes it until `held` is closed."""
    with contextlib.ExitStack() as alone:
        alone.enter_context(locked_key(folder, key))
        if not (found := find_tree(folder, key)):
            held.push(alone.pop_all())
        return found


def save_in_background(folder: Path, made: Iterable[Path], held: contextlib.ExitStack, used: threading.Event) -> None:
    """Keep tars that have the names of their keys once their tree is `used`, or soon, and step back before all others.

    The tars may go meanwhile. What is `held` for them is let go when they are kept; until then the process stays.
    """
    with contextlib.ExitStack() as opened:
        files = {tar.stem: opened.enter_context(tar.open("rb")) for tar in made}
        opened.push(held.pop_all())
        arguments = (folder, files, opened.pop_all(), used)
        # Who starts it may be a thread that the end of the process does not wait for, which it would take after.
        Thread(target=_save_all, args=arguments, name=THREAD_NAME, daemon=False).start()


def _save_all(folder: Path, files: Mapping[str, IO[bytes]], held: contextlib.ExitStack, used: threading.Event) -> None:
    with held:
        used.wait(SAVE_DELAY)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)  # of a thread, on Linux
        for key, file in files.items():
            save_tree(folder, key, Path(f"/proc/self/fd/{file.fileno()}"))
