"""Files of a tree, accessed from outside: links are followed as they would be inside it, never out of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from pathlib import Path, PurePosixPath

from rootfs.install.errors import no_such_id
from rootfs.tree.errors import cannot_place

MAX_LINKS = 40  # symbolic links in one path, as in Linux

Owner = tuple[int, int]
ROOT: Owner = (0, 0)  # the owner of new files anyway


def resolve_path(tree: Path, path: str) -> Path:
    """The path on this machine of a path in the tree. Links are followed, also at its end.

    Only for a tree in which no program runs meanwhile. Raises InputError for a loop of links.
    """
    left, here, hops = deque(_parts(path)), list[str](), 0
    while left:
        part = left.popleft()
        place = tree.joinpath(*here, part)
        if part == "..":
            here = here[:-1]
        elif place.is_symlink():
            hops += 1
            if hops > MAX_LINKS:
                raise cannot_place(path, "its links go round in circles")
            target = place.readlink()
            here = [] if target.is_absolute() else here
            left.extendleft(reversed(_parts(str(target))))
        else:
            here.append(part)
    return tree.joinpath(*here)


def _parts(path: str) -> list[str]:
    return [part for part in PurePosixPath(path).parts if part != "/"]


def make_folder(tree: Path, path: str) -> Path:
    """The folder at this path; it and its parents are created (root's, 0755) where missing. Raises InputError."""
    for above in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
        place = resolve_path(tree, str(above))
        if not place.exists():
            place.mkdir()
            place.chmod(0o755)
        elif not place.is_dir():
            raise cannot_place(str(above), "it is no folder, so that nothing can be in it")
    return resolve_path(tree, path)


def clear_path(tree: Path, path: str) -> Path:
    """Make room for a new file or link: remove what is there, unless it is a folder. Raises InputError."""
    place = make_folder(tree, str(PurePosixPath(path).parent)) / PurePosixPath(path).name
    if place.is_dir() and not place.is_symlink():
        raise cannot_place(path, "there is a folder of this name")
    place.unlink(missing_ok=True)
    return place


def write_file(tree: Path, path: str, content: str | Path, *, mode: int = 0o644, owner: Owner = ROOT) -> None:
    """Write a new file with this text, or with the content of another file. Raises InputError."""
    place = clear_path(tree, path)
    if isinstance(content, Path):
        shutil.copyfile(content, place)
    else:
        place.write_bytes(content.encode())
    if owner != ROOT:
        set_owner(place, owner)
    place.chmod(mode)


def set_owner(place: Path, owner: Owner) -> None:
    """Give a file, folder or link to an owner. Raises MachineError for a number that this user may not give."""
    try:
        os.lchown(place, *owner)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise no_such_id(*owner) from error


def empty_folder(folder: Path) -> None:
    """Remove everything in a folder."""
    for place in folder.iterdir():
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
