"""What a check brings along: files and packages that are there for its container, and not in the image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rootfs.lock.lock import Package
from rootfs.scratch.unpack import opened
from rootfs.tree.package_tree import Tree, copied
from rootfs.tree.tar_writer import frames


def brought(packages: Iterable[Package], debs: Path, names: Iterable[str], files: Path, folder: Path) -> Path:
    """A tar in `folder`, an empty one, of these packages and of the files of these names.

    `debs` has the packages' files, `files` is the recipe's folder. Raises BadDeb, PackagesClash.
    """
    tree = Tree()
    for each in opened(packages, debs, folder / "plain").values():
        for piece in each.tree.pieces.values():
            tree.add(piece)
    for name in names:
        tree.lay(copied(name, files / name))
    path = folder / "brought.tar"
    with path.open("wb") as tar:
        tar.writelines(frames(tree.members()))
    return path
