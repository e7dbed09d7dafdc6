"""The folder beside a recipe with the files that it names: listing, checks, and a normalized copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from rootfs.errors import RecipeInvalid

LARGEST = 1 << 20  # bytes of a recipe
MAX_DEPTH = 64  # folders in each other in a recipe's folder


def list_entries(folder: Path, *, but: str | None = None) -> list[dict[str, str | bool]]:
    """The files and links below a folder: path, content and whether it is executable, sorted by the bytes of the path.

    The path `but` is left out.
    """
    return [_entry(path, folder) for path in _walk(folder) if but is None or path != folder / but]


def copy_normalized(folder: Path, copy: Path, epoch: int) -> None:
    """Copy a folder with only what `list_entries` lists: all times are `epoch`, modes say only what is executable.

    Empty folders are left out. `copy` must not exist.
    """
    copy.mkdir(mode=0o755)
    for path in _walk(folder):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copyfile(path, target, follow_symlinks=False)
        if not path.is_symlink():
            target.chmod(normalized_mode(path.stat()))
    for path in (*copy.rglob("*"), copy):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def normalized_mode(status: os.stat_result) -> int:
    """The mode of a file in a normalized copy: only whether its owner can execute it counts."""
    return 0o755 if status.st_mode & 0o100 else 0o644


def is_file(path: Path) -> bool:
    """Whether a path is a file, also for paths that are invalid."""
    try:
        return path.is_file()
    except OSError:  # for example a name that is too long
        return False


def read_recipe_file(file: Path) -> bytes:
    """Read a recipe: a regular file of at most LARGEST bytes, not a link. Raises RecipeInvalid."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RecipeInvalid([(f"{file}:1:1", "a recipe is a regular file, and this is none")])
            data = stream.read(LARGEST + 1)
    except OSError as error:
        why = "a recipe is a regular file, and this is a link: put the file itself here"
        message = why if file.is_symlink() else f"the file cannot be read: {error.strerror}"
        raise RecipeInvalid([(f"{file}:1:1", message)]) from None
    if len(data) > LARGEST:
        raise RecipeInvalid([(f"{file}:1:1", f"a recipe has at most {LARGEST} bytes, and this has more")])
    return data


def unsupported_entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Entries that a recipe's folder must not have, as the recipe's digest could not cover them, with the reasons."""
    if folder.is_symlink():  # it could name any folder of this machine
        yield folder, "is a link, and a recipe's folder has to be a folder of its own"
        return
    for path in _walk(folder):
        if len(path.relative_to(folder).parts) > MAX_DEPTH:
            yield path, f"is more than {MAX_DEPTH} folders deep"
            return
        if path.is_symlink() and not _stays_inside(path, folder):
            yield path, "is a link that leads out of the recipe's folder"
        elif not path.is_symlink() and not path.is_file():
            yield path, "is neither a file nor a folder"


def _walk(folder: Path) -> list[Path]:
    """The files and links below a folder, and folders that are too deep, which are not entered."""
    found, folders = list[Path](), [folder] if folder.is_dir() else []
    while folders:
        for path in _children(folders.pop()):
            inner = path.is_dir() and not path.is_symlink()
            too_deep = len(path.relative_to(folder).parts) > MAX_DEPTH
            (folders if inner and not too_deep else found).append(path)
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder)))


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise RecipeInvalid([(f"{folder}:1:1", f"the folder cannot be read: {error.strerror}")]) from None


def _stays_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link loop
        return False


def _entry(path: Path, folder: Path) -> dict[str, str | bool]:
    name = os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")
    try:
        if path.is_symlink():
            return {"path": name, "link": str(path.readlink())}
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": name, "sha256": digest, "executable": bool(os.fstat(file.fileno()).st_mode & 0o100)}
    except OSError as error:
        raise RecipeInvalid([(f"{path}:1:1", f"the file cannot be read: {error.strerror}")]) from None
