"""`python -m rootfs.install PLAN PROBLEM`: do what the plan says; an error goes to the file PROBLEM as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from rootfs.errors import BaseforgeError
from rootfs.install import accounts, base_tree, chroot_files, customize, dpkg, mounts
from rootfs.install.plan import Plan
from rootfs.process.run import run

POLICY = "usr/sbin/policy-rc.d"  # stays where apt does: packages that are installed later shall start nothing either
KEEPING = (*base_tree.KEEPING, "--same-owner", "--same-permissions")
DEVICES = ("--anchored", "--exclude=./dev/*")  # an ordinary user cannot make any; images get their own
LONGEST = 10_000  # characters of a program's output that go into an error
NO_DAEMONS = "#!/bin/sh\nexit 101\n"  # invoke-rc.d's policy: start nothing


def make(plan: Plan) -> None:
    """The tree, from what it begins with to its last file."""
    sys.stdin.read()  # which ends when there is what the tree begins with, and the debs are
    plan = _begun(plan)
    mounts.mount(plan.tree, plan.debs)
    if not (plan.tree / POLICY).is_file():  # what keeps packages from starting anything
        chroot_files.write(plan.tree, f"/{POLICY}", NO_DAEMONS, mode=0o755)
    if not plan.has_base:
        _add_base(plan)
    for path, text in plan.texts.items():
        chroot_files.write(plan.tree, path, text)
    dpkg.install(plan, plan.rest, plan.epoch)
    dpkg.mark(plan)
    chroot_files.empty(plan.debs)  # they may take as much memory as the tree
    _make_own(plan)
    dpkg.check(plan)
    if plan.remove:
        dpkg.remove(plan)
    if plan.remove or not plan.has("apt"):
        (plan.tree / POLICY).unlink(missing_ok=True)


def _make_own(plan: Plan) -> None:
    """What the recipe says beside its packages."""
    accounts.add(plan.tree, plan.groups, plan.users, plan.epoch)
    customize.lay(plan.tree, plan.entries, plan.files)
    if plan.locale:
        customize.set_locale(plan, plan.locale)
    if plan.timezone:
        customize.set_timezone(plan.tree, plan.timezone)
    customize.run_scripts(plan)


def _begun(plan: Plan) -> Plan:
    """Unpack what the tree begins with, if it is not there; the plan that knows what an image has."""
    if plan.start is None:
        base_tree.begin(plan)
        return plan
    plan.tree.mkdir()
    run(["tar", "--extract", *KEEPING, *DEVICES, f"--file={plan.start}", f"--directory={plan.tree}"])
    base_tree.clamp_days(plan.tree, plan.start_epoch)
    return replace(plan, present=tuple(sorted(dpkg.installed(plan.tree)))) if plan.whole else plan


def _add_base(plan: Plan) -> None:
    """The packages that come first."""
    dpkg.install(plan, plan.base, plan.base_epoch)
    base_tree.settle(plan)


def main(plan: Path, problem: Path) -> int:
    """Returns the exit status."""
    try:
        make(Plan.loaded(plan.read_bytes()))
    except BaseforgeError as error:
        error.output = error.output[-LONGEST:]
        with problem.open("r+b") as file:  # the room for it is there, also where the disk is full by now
            file.write(json.dumps(error.as_dict()).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
