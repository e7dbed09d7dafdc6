"""The recipe's own files, laid over the packages'."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rootfs.errors import FileClash
from rootfs.install import chroot_files
from rootfs.install.plan import Entry


def lay(tree: Path, entries: Iterable[Entry], files: Path) -> None:
    """Make each entry, folders first where they lead to others; `files` is the recipe's folder. Raises FileClash."""
    for entry in sorted(entries, key=lambda entry: entry.path):
        if entry.link is not None:
            place = chroot_files.cleared(tree, entry.path)
            place.symlink_to(entry.link)
            os.lchown(place, *entry.owner)
        elif entry.folder:
            _folder(tree, entry)
        else:
            _file(tree, entry, files)


def _folder(tree: Path, entry: Entry) -> None:
    place = chroot_files.inside(tree, entry.path)
    if place.exists() and not place.is_dir():
        raise FileClash(entry.path, "there is something else of this name")
    place = chroot_files.folder(tree, entry.path)
    os.chown(place, *entry.owner)
    place.chmod(0o755 if entry.mode is None else entry.mode)


def _file(tree: Path, entry: Entry, files: Path) -> None:
    content = entry.content if entry.content is not None else files / str(entry.source)
    runnable = isinstance(content, Path) and bool(content.stat().st_mode & 0o100)
    mode = (0o755 if runnable else 0o644) if entry.mode is None else entry.mode
    chroot_files.write(tree, entry.path, content, mode=mode, owner=entry.owner)
