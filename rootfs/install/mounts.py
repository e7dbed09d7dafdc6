"""What is mounted in a tree while programs run in it: what they write there is for others of them, not for the image.

All of it is gone with the mount namespace. Each program gets its own /dev and /proc besides
(`rootfs.process.sandbox.enter_tree_command`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rootfs.process.run import run

DEBS = "run/baseforge/debs"  # in the tree, while it is made
SCRIPT = "run/baseforge/customise"


def mount(tree: Path, debs: Path) -> None:
    """An empty /run and /tmp, and the debs. Raises ProgramFailed."""
    own = (("run", "mode=755"), ("tmp", "mode=1777"))
    _mount(tree, [("tmpfs", name, "tmpfs", options) for name, options in own])
    (tree / DEBS).mkdir(parents=True)
    _mount(tree, [(str(debs), DEBS, "none", "bind")])


def _mount(tree: Path, lines: Iterable[tuple[str, str, str, str]]) -> None:
    """Mount all at once: each is a source, a place in the tree, a kind and options, as in fstab(5)."""
    table = "".join(f"{_word(source)} {_word(f'{tree}/{place}')} {kind} {how}\n" for source, place, kind, how in lines)
    listed = tree.with_name("fstab")
    listed.write_text(table)
    run(["mount", "--all", "--fstab", listed])


def _word(path: str) -> str:
    """A path as fstab(5) wants it: white space and backslashes in octal."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in path)
