"""What a tree needs to have programs run in it. All of it is gone with the mount namespace; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rootfs.run import run

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
DEBS = "run/baseforge/debs"  # in the tree, while it is made
SCRIPT = "run/baseforge/customise"


def mount(tree: Path, debs: Path) -> None:
    """A minimal /dev, a /proc of this process namespace, an empty /run and /tmp, and the debs.

    Devices are this machine's own, bound, as an ordinary user cannot make any. Raises ProgramFailed.
    """
    own = [(name, f"mode={mode}") for name, mode in (("dev", "755"), ("run", "755"), ("tmp", "1777"))]
    _mount(tree, [*(("tmpfs", name, "tmpfs", options) for name, options in own), ("proc", "proc", "proc", "defaults")])
    for device in DEVICES:
        (tree / "dev" / device).touch()
    for folder in (tree / "dev/pts", tree / "dev/shm", tree / DEBS):
        folder.mkdir(parents=True)
    for name, target in LINKS.items():
        (tree / "dev" / name).symlink_to(target)
    bound = [(f"/dev/{device}", f"dev/{device}") for device in DEVICES]
    binds = [(source, place, "none", "bind") for source, place in [*bound, (str(debs), DEBS)]]
    _mount(tree, [("devpts", "dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=620"), *binds])


def _mount(tree: Path, lines: Iterable[tuple[str, str, str, str]]) -> None:
    """Mount all at once: each is a source, a place in the tree, a kind and options, as in fstab(5)."""
    table = "".join(f"{_word(source)} {_word(f'{tree}/{place}')} {kind} {how}\n" for source, place, kind, how in lines)
    listed = tree.with_name("fstab")
    listed.write_text(table)
    run(["mount", "--all", "--fstab", listed])


def _word(path: str) -> str:
    """A path as fstab(5) wants it: white space and backslashes in octal."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in path)
