"""Work folders: one a run, locked while its run lives, so that what a killed run left behind is known and removed."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from rootfs.engines import remove_tree
from rootfs.errors import WorkFolderFailed
from rootfs.run import run

PREFIX = "baseforge-"
IMAGES = "images"  # a file in a work folder: the ids of the images that the run brings into the engine, a line each


@contextlib.contextmanager
def work_folder(parent: Path, run_id: str) -> Iterator[Path]:
    """An empty folder for one run, gone when the block ends, however it ends. Raises WorkFolderFailed."""
    folder = parent / f"{PREFIX}{run_id}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(_lock_of(folder))
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask: apt fetches as a user of its own
    except OSError as error:
        raise WorkFolderFailed(parent, error.strerror or str(error)) from error
    with lock:
        try:
            yield folder
        finally:
            _remove(folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _locked(path: Path) -> IO[str]:
    """The lock file, held; made anew when a sweep took it away between opening and locking it."""
    while True:
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
            return lock
        lock.close()


def _remove(folder: Path) -> None:
    for place in reversed(_mounts_below(folder)):
        run(["umount", "--lazy", place], check=False)
    remove_tree(folder)
    _lock_of(folder).unlink(missing_ok=True)


def _mounts_below(folder: Path) -> list[str]:
    """Mount points under a folder, as the kernel lists them (proc(5), mountinfo, fifth field)."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def note_image(folder: Path, image_id: str) -> None:
    """Say which image a run brings into the engine, for whoever clears away after it; it may bring several."""
    with (folder / IMAGES).open("a") as note:
        note.write(f"{image_id}\n")


def alive(parents: Iterable[Path], run_id: str) -> bool:
    """Whether a run of this machine is at work: the lock of one of its folders is held."""
    return any(_held(parent, run_id) for parent in parents)


def _held(parent: Path, run_id: str) -> bool:
    try:
        with _lock_of(parent / f"{PREFIX}{run_id}").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sweep(parents: Iterable[Path]) -> dict[str, list[str]]:
    """Remove the work folders of runs that are no longer alive; returns their run ids, each with images it noted."""
    swept: dict[str, list[str]] = {}
    for path in itertools.chain.from_iterable(parent.glob(f"{PREFIX}*.lock") for parent in parents):
        with contextlib.suppress(OSError), path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note, run_id = path.with_suffix("") / IMAGES, path.stem.removeprefix(PREFIX)
            swept.setdefault(run_id, []).extend(note.read_text().splitlines() if note.is_file() else ())
            _remove(path.with_suffix(""))
    return swept
