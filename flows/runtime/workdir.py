"""Work folders: one for each run, locked while the run is alive, so that those of killed runs are found and removed.

They are in a private folder of the user, `baseforge-UID` in a folder that all users may share. If another user
has taken that name, it gets a random name, which is noted in the user's data folder. Trees are made in
memory where a tmpfs has room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.config.paths import data_folder
from rootfs.bootstrap.bootstrapper import remove_tree
from rootfs.errors import MachineError
from rootfs.lock.lock import Lock
from rootfs.process.run import run
from rootfs.system import atomic_file, document_format, locks, private
from rootfs.system.digests import canonical_digest
from rootfs.system.disk import any_disk_full, disk_full
from rootfs.system.errors import FolderForeign

PREFIX = "baseforge-"
SETTINGS = "`work` or `memory` in baseforge.toml, or BASEFORGE_WORK or BASEFORGE_MEMORY"
UNPACKED = 16  # bytes that the work on a tree takes for each of its debs (measured: 14.1 on minbase)
MOUNTS = Path("/proc/self/mountinfo")
AVAILABLE = Path("/proc/meminfo")
# What a container may use: control groups of version 2 and 1, as a container sees its own.
LIMITS = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
IMAGES = "images"  # a file in a work folder: the images that the run brings into the engine, a line each


@contextlib.contextmanager
def work_folder(parent: Path, run_id: str) -> Iterator[Path]:
    """Make an empty folder for one run; it is removed when the block ends, however it ends.

    Raises MachineError, LockHeld, DiskFull.
    """
    with contextlib.ExitStack() as held:
        try:
            with disk_full(parent):
                folder = own_folder(parent) / run_id
                held.enter_context(locks.locked(_lock_of(folder)))
                folder.mkdir(private.MODE)
        except OSError as error:
            raise MachineError(
                f"no work folder can be made in {parent}: {error.strerror or str(error)}",
                hint="Name another: `work` or `memory` in baseforge.toml, or BASEFORGE_WORK or BASEFORGE_MEMORY.",
            ) from error
        try:
            with any_disk_full(folder, data_folder(), Path(tempfile.gettempdir())):
                yield folder
        finally:
            _remove(folder)


def empty_folder(folder: Path) -> Path:
    """Make an empty folder; what an earlier try may have left in it is removed."""
    remove_tree(folder)
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def own_folder(parent: Path) -> Path:
    """The folder of this user's work folders in `parent`, made if it is not there. Raises MachineError, OSError."""
    parent = parent.absolute()
    folder = parent / f"{PREFIX}{os.geteuid()}"
    if not parent.is_dir():  # probably a mistake in a setting: do not make it
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder")
    try:
        private.make_private_folder(folder, SETTINGS)
        if private.is_private(folder):
            return folder
    except (FolderForeign, NotADirectoryError):  # another user has taken the name
        pass
    note = _note(parent)
    with locks.locked(note.with_suffix(".lock")):
        if folder_there := _remembered(parent):
            return folder_there
        made = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        atomic_file.write_file(note, document_format.dump({"folder": made}))
        return Path(made)


def _note(parent: Path) -> Path:
    """The file that names our folder with a random name."""
    return data_folder() / "work" / canonical_digest(str(parent)).removeprefix("sha256:")


def _remembered(parent: Path) -> Path | None:
    """Our folder with a random name, if it is there."""
    with contextlib.suppress(OSError, ValueError):
        folder = _folder_in(_note(parent))
        if folder.parent == parent and private.is_private(folder):
            return folder
    return None


def _folder_in(note: Path) -> Path:
    """The folder that a note names; a note without a format is only the path. Raises FormatNewer, OSError."""
    if (text := note.read_text()).startswith("/"):
        return Path(text)
    return Path(str(document_format.parse(text, "the note of a work folder", note).get("folder", "")))


def _own_folders(parents: Iterable[Path]) -> list[Path]:
    """The folders of this user's work folders that exist. Folders of other users are ignored."""
    places = [parent.absolute() for parent in parents]
    found = [(place / f"{PREFIX}{os.geteuid()}", _remembered(place)) for place in places]
    return [folder for pair in found for folder in pair if folder and private.is_private(folder)]


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(folder: Path) -> None:
    for place in reversed(_mounts_below(folder)):
        run(["umount", "--lazy", place], check=False)
    remove_tree(folder)
    _lock_of(folder).unlink(missing_ok=True)
    if os.path.lexists(folder):
        sys.stderr.write(f"baseforge: the work folder {folder} cannot be removed whole. Remove it by hand.\n")


def _mounts_below(folder: Path) -> list[str]:
    """Mount points under a folder, as the kernel lists them (proc(5), mountinfo, fifth field)."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def note_image(folder: Path, image_id: str) -> None:
    """Note which image a run brings into the engine, so that it can be removed later: one JSON object a line."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(folder / IMAGES, flags, 0o600), "a") as note:
        note.write(document_format.dump({"image": image_id}).decode() + "\n")


def _noted_images(folder: Path) -> list[str]:
    """The images that a run has noted; a note that is not this user's file is ignored. Raises FormatNewer."""
    with contextlib.suppress(OSError, ValueError):
        number = os.open(folder / IMAGES, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number) as note:
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                return [image for line in note if (image := _image_in(line.strip(), folder))]
    return []


def _image_in(line: str, folder: Path) -> str:
    """The image of one line, which may be cut off; a line without a format is only the image's id."""
    if not line.startswith("{"):
        return line
    with contextlib.suppress(ValueError):
        return str(document_format.parse(line, "the note of a run's images", folder / IMAGES).get("image", ""))
    return ""


def is_running(parents: Iterable[Path], run_id: str) -> bool:
    """Whether a run of this user on this machine is at work: the lock of one of its folders is held."""
    return any(locks.is_held(_lock_of(folder / run_id)) for folder in _own_folders(parents))


def remove_dead_folders(parents: Iterable[Path]) -> dict[str, list[str]]:
    """Remove the work folders of this user's runs that are no longer alive.

    A run is alive while the lock of one of its folders is held. Returns the ids of the runs whose folders are removed,
    each with the images that it noted.
    """
    folders = _own_folders(parents)
    ours = [path for folder in folders for path in folder.iterdir() if private.is_ours(path)]
    swept: dict[str, list[str]] = {}
    for run_id in sorted({path.name.removesuffix(".lock") for path in ours}):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            left = [path for folder in folders if _is_there(path := folder / run_id)]
            if all(held.enter_context(locks.try_locked(_lock_of(path))) for path in left):
                # A lock without a folder is that of a run that has just begun, or that has removed its folder.
                if made := [path for path in left if path.is_dir()]:
                    swept[run_id] = [image for path in made for image in _noted_images(path)]
                for path in left:
                    _remove(path)
    return swept


def _is_there(folder: Path) -> bool:
    return folder.is_dir() or _lock_of(folder).exists()


def size_of_work(lock: Lock, layers: int = 0) -> int:
    """The most bytes that the work on a tree takes: of these packages, on a base image of `layers` bytes."""
    return UNPACKED * (layers + sum(package.size for package in lock.packages))


def has_room(folder: Path | None, size: int) -> bool:
    """Whether the folder is a tmpfs, and `size` bytes are at most half of what is free there and in memory."""
    if folder is None or size == 0 or not _is_tmpfs(folder):
        return False
    there = os.statvfs(folder)
    return size <= min(there.f_bavail * there.f_frsize, _free()) // 2


@contextlib.contextmanager
def tree_folder(memory: Path | None, size: int, folder: Path, run_id: str) -> Iterator[Path]:
    """The run's folder in `memory` for the block where there is room for `size` bytes, else `folder`.

    `memory` has room where it is a tmpfs and half of what is free there and in memory is enough.
    Raises MachineError.
    """
    if not has_room(memory, size):
        yield folder
    else:
        assert memory is not None  # noqa: S101 - it has room
        with work_folder(memory, run_id) as place:
            yield place


def _is_tmpfs(folder: Path) -> bool:
    """Whether a tmpfs is mounted just there (proc(5), mountinfo: the type comes after a lone dash)."""
    lines = [line.split() for line in MOUNTS.read_text().splitlines()]
    return any(line[4] == str(folder) and line[line.index("-") + 1] == "tmpfs" for line in lines)


def _free() -> int:
    """Bytes of memory that can be had without swapping."""
    fields = dict(line.split(":", 1) for line in AVAILABLE.read_text().splitlines())
    free = [int(fields["MemAvailable"].split()[0]) * 1024]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such version here; "max" is no limit
            free.append(int(path.read_text()))
    return min(free)
