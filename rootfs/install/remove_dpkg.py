"""A tree without package manager, for images that shall not change.

As in images that never had one, scanners still find what is installed: dpkg's status file stays, and the checksums of
each package's files. apt, what only apt needed, and dpkg are in it no more, as they are not there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rootfs.install import dpkg
from rootfs.install.plan import Plan

DPKG = "var/lib/dpkg"
STATE = ("etc/apt", "etc/dpkg", "var/lib/apt", "var/cache/apt", "var/log/apt")


def remove(plan: Plan) -> None:
    """Take apt and dpkg out, with their settings and state. Raises MaintainerScriptFailed, ProgramFailed."""
    if plan.has("apt"):
        words = ("--purge", "--auto-remove", "--allow-remove-essential", "remove", "apt")
        marks = plan.tree / dpkg.MARKS
        states = (f"--option=Dir::State::extended_states={marks}",) if marks.is_file() else ()
        dpkg.apt(plan, *states, *words)
    # dpkg removes itself like any other package: it is in memory by then, and so is what it uses.
    dpkg.dpkg(plan, "--purge", "--force-depends", "--force-remove-essential", "dpkg")
    _thin(plan.tree)
    for path in STATE:
        place = plan.tree / path
        if place.is_dir():
            shutil.rmtree(place)


def _thin(tree: Path) -> None:
    """Of dpkg's state only what scanners read."""
    for place in (tree / DPKG).rglob("*"):
        if not place.is_dir() and place.name != "status" and place.suffix != ".md5sums":
            place.unlink()
    for name in ("alternatives", "parts", "triggers", "updates"):
        shutil.rmtree(tree / DPKG / name, ignore_errors=True)
