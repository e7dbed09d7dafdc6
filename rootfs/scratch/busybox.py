"""busybox's programs: its one file, and a link to it for each name that it can be called by."""

from __future__ import annotations

import re
from dataclasses import replace

from rootfs.errors import BuildError
from rootfs.recipe.scratch import DEBUG_FOLDER
from rootfs.scratch.unpack import UnpackedPackages
from rootfs.tree.package_tree import PackageTree

PACKAGE = "busybox-static"
PROGRAM = "usr/bin/busybox"
# The names follow each other in the program, each ending with NUL, sorted; these two are the first
# (busybox, include/applet_tables.h).
FIRST = b"[\0[[\0"
NAME = re.compile(rb"([\[\w.+-]+)\0")


def add_programs(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add busybox and its links to /usr/bin. What other packages have there stays. Raises BuildError."""
    _add(tree, debs, "usr/bin", mtime)


def add_debug_shell(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add busybox and its links to a folder of their own, which can be copied as a whole. Raises BuildError."""
    _add(tree, debs, DEBUG_FOLDER.lstrip("/"), mtime)


def program_names(program: bytes) -> list[str]:
    """The names in busybox's table of programs, sorted. Raises BuildError if there is none."""
    names: list[bytes] = []
    place = program.find(FIRST)
    while place >= 0 and (found := NAME.match(program, place)) and (not names or found[1] > names[-1]):
        names.append(found[1])
        place = found.end()
    if b"sh" not in names:
        raise BuildError(f"{PACKAGE} has no table of programs", hint=f"Pin another version of {PACKAGE} in `pins`.")
    return [name.decode() for name in names]


def _add(tree: PackageTree, debs: UnpackedPackages, folder: str, mtime: int) -> None:
    entry = debs[PACKAGE].tree.entries[PROGRAM]
    tree.add(replace(entry, member=replace(entry.member, path=f"{folder}/busybox")))
    for name in program_names(entry.read()):
        if (path := f"{folder}/{name}") not in tree.entries:
            tree.link(path, "busybox", mtime)
