"""What a check brings along: files and packages that are there for its container, and not in the image."""

from __future__ import annotations

from pathlib import Path

from rootfs.lock import Lock
from rootfs.members import Member
from rootfs.parts import SmokeCheck
from rootfs.scratch.debs import opened
from rootfs.scratch.tree import Piece, Tree
from rootfs.tar import frames


def brought(check: SmokeCheck, lock: Lock, debs: Path, files: Path, folder: Path) -> Path | None:
    """A tar in `folder`, an empty one, of what the check brings; None where that is nothing.

    `debs` has the files of the lock's packages, `files` is the recipe's folder. Raises BadDeb, PackagesClash.
    """
    if not check.brings:
        return None
    packages = [package for package in lock.packages if package.name in check.packages]
    tree = Tree()
    for each in opened(packages, debs, folder / "plain").values():
        for piece in each.tree.pieces.values():
            tree.add(piece)
    for name in check.files:
        status = (files / name).stat()
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        tree.lay(Piece(Member(name, mode=mode, size=status.st_size), file=files / name))
    path = folder / "brought.tar"
    with path.open("wb") as tar:
        for frame in frames(tree.members()):
            tar.write(frame)
    return path
