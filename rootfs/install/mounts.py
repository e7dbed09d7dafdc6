"""Mounts in a tree while programs run in it: temporary folders, and the folder of debs.

They go with the mount namespace. Each program also gets its own /dev and /proc
(`rootfs.process.sandbox.enter_tree_command`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rootfs.process.run import run

WORK = "run/baseforge"  # in the tree, while it is being made
DEBS = f"{WORK}/debs"
SCRIPT = f"{WORK}/customise"


def mount_work_folders(tree: Path, debs: Path) -> None:
    """Mount an empty /tmp, an empty folder of ours below /run, and the debs. Raises ProgramFailed.

    The rest of /run is the tree's own: folders that packages and scripts make there stay in the image.
    """
    _make_mount_point(tree / WORK)
    own = ((WORK, "mode=755"), ("tmp", "mode=1777"))
    _mount(tree, [("tmpfs", name, "tmpfs", options) for name, options in own])
    (tree / DEBS).mkdir(parents=True)
    _mount(tree, [(str(debs), DEBS, "none", "bind")])


def _make_mount_point(place: Path) -> None:
    """Make a folder. The time of the folder that contains it stays, so that a layer does not have that one for it."""
    place.parent.mkdir(exist_ok=True)
    before = place.parent.stat()
    place.mkdir(exist_ok=True)
    os.utime(place.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _mount(tree: Path, lines: Iterable[tuple[str, str, str, str]]) -> None:
    """Mount all in one go: each line is a source, a path in the tree, a type and options, as in fstab(5)."""
    table = "".join(
        f"{_escape(source)} {_escape(f'{tree}/{path}')} {kind} {options}\n" for source, path, kind, options in lines
    )
    listed = tree.with_name("fstab")
    listed.write_text(table)
    run(["mount", "--all", "--fstab", listed])


def _escape(path: str) -> str:
    """Escape a path for fstab(5): white space and backslashes in octal."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in path)
