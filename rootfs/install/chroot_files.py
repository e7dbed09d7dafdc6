"""Paths of a tree, seen from outside: links lead where they would inside it, never out of it."""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path, PurePosixPath

from rootfs.tree.errors import cannot_place

HOPS = 40  # links on one way, as in Linux

Owner = tuple[int, int]
ROOT: Owner = (0, 0)  # whom new files belong to anyway


def inside(tree: Path, path: str, *, last: bool = True) -> Path:
    """Where a path of the tree is on this machine; `last` says whether a link at its very end is followed.

    Only for a tree in which nothing runs meanwhile. Raises InputError for links that go round in circles.
    """
    left, here, hops = deque(_parts(path)), list[str](), 0
    while left:
        part = left.popleft()
        place = tree.joinpath(*here, part)
        if part == "..":
            here = here[:-1]
        elif place.is_symlink() and (left or last):
            hops += 1
            if hops > HOPS:
                raise cannot_place(path, "its links go round in circles")
            target = place.readlink()
            here = [] if target.is_absolute() else here
            left.extendleft(reversed(_parts(str(target))))
        else:
            here.append(part)
    return tree.joinpath(*here)


def _parts(path: str) -> list[str]:
    return [part for part in PurePosixPath(path).parts if part != "/"]


def folder(tree: Path, path: str) -> Path:
    """The folder at this path, made with those above it (root's, 0755) where it is missing. Raises InputError."""
    for above in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
        place = inside(tree, str(above))
        if not place.exists():
            place.mkdir()
            place.chmod(0o755)
        elif not place.is_dir():
            raise cannot_place(str(above), "it is no folder, so that nothing can be in it")
    return inside(tree, path)


def cleared(tree: Path, path: str) -> Path:
    """Where a new file or link can be made: what is there, other than a folder, is gone. Raises InputError."""
    place = folder(tree, str(PurePosixPath(path).parent)) / PurePosixPath(path).name
    if place.is_dir() and not place.is_symlink():
        raise cannot_place(path, "there is a folder of this name")
    place.unlink(missing_ok=True)
    return place


def write(tree: Path, path: str, content: str | Path, *, mode: int = 0o644, owner: Owner = ROOT) -> None:
    """A new file with this text, or with what another file has. Raises InputError."""
    place = cleared(tree, path)
    if isinstance(content, Path):
        shutil.copyfile(content, place)
    else:
        place.write_bytes(content.encode())
    if owner != ROOT:
        os.chown(place, *owner)
    place.chmod(mode)


def empty(folder: Path) -> None:
    """A folder without all that is in it."""
    for place in folder.iterdir():
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
