"""The installer: `python -m rootfs.install PLAN PROBLEM` makes the tree of a plan; PROBLEM gets an error as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from rootfs.errors import BaseforgeError
from rootfs.install import accounts, base_tree, chroot_files, customize, dpkg, mounts
from rootfs.install.plan import Plan
from rootfs.process.run import run

POLICY_RC_D = (
    "usr/sbin/policy-rc.d"  # stays beside apt, so that packages that are installed later start no services either
)
EXTRACT_OPTIONS = (*base_tree.TAR_OPTIONS, "--same-owner", "--same-permissions")
NO_DEVICES = ("--anchored", "--exclude=./dev/*")  # an ordinary user cannot create devices; images have their own
MAX_OUTPUT = 10_000  # characters of a program's output that go into an error
NO_DAEMONS = "#!/bin/sh\nexit 101\n"  # invoke-rc.d's policy: start nothing


def make_tree(plan: Plan) -> None:
    """Make the tree: unpack its start, install the packages, add what the recipe says, check the result."""
    sys.stdin.read()  # ends when the start of the tree and all debs are there
    plan = _unpack_start(plan)
    mounts.mount_work_folders(plan.tree, plan.debs)
    if not (plan.tree / POLICY_RC_D).is_file():  # so that packages start no services
        chroot_files.write_file(plan.tree, f"/{POLICY_RC_D}", NO_DAEMONS, mode=0o755)
    if not plan.has_base:
        _add_base(plan)
    for path, text in plan.settings.items():
        chroot_files.write_file(plan.tree, path, text)
    dpkg.add_architectures(plan)
    dpkg.install_packages(plan, plan.other_packages, plan.epoch)
    dpkg.mark_automatic(plan)
    chroot_files.empty_folder(plan.debs)  # they may use as much memory as the tree
    _add_recipe_parts(plan)
    dpkg.check_installed(plan)
    if plan.remove_package_manager:
        dpkg.remove_package_manager(plan)
    if plan.remove_package_manager or not plan.has("apt"):
        (plan.tree / POLICY_RC_D).unlink(missing_ok=True)


def _add_recipe_parts(plan: Plan) -> None:
    """Add accounts, files, locale and time zone, and run the scripts of the recipe."""
    accounts.add_accounts(plan.tree, plan.groups, plan.users, plan.epoch)
    customize.write_entries(plan.tree, plan.entries, plan.files)
    customize.update_certificates(plan)
    if plan.locale:
        customize.set_locale(plan, plan.locale)
    if plan.timezone:
        customize.set_timezone(plan.tree, plan.timezone)
    customize.run_scripts(plan)
    accounts.empty_login_records(plan.tree)


def _unpack_start(plan: Plan) -> Plan:
    """Unpack the tar that the tree starts from, if there is one; the plan with the packages of a base image."""
    if plan.start is None:
        base_tree.finish_essential(plan)
        return plan
    plan.tree.mkdir()
    run(["tar", "--extract", *EXTRACT_OPTIONS, *NO_DEVICES, f"--file={plan.start}", f"--directory={plan.tree}"])
    base_tree.clamp_password_dates(plan.tree, plan.start_epoch)
    return replace(plan, present=tuple(sorted(dpkg.installed_packages(plan.tree)))) if plan.layered else plan


def _add_base(plan: Plan) -> None:
    """Install the packages of the variant, and finish the tree of them."""
    dpkg.install_packages(plan, plan.base_packages, plan.base_epoch)
    base_tree.finish_base(plan)


def main(plan: Path, problem: Path) -> int:
    """Make the tree of a plan; returns the exit status."""
    try:
        make_tree(Plan.from_json(plan.read_bytes()))
    except BaseforgeError as error:
        error.output = error.output[-MAX_OUTPUT:]
        with problem.open("r+b") as file:  # its bytes are reserved, also where the disk is full by now
            file.write(json.dumps(error.as_dict()).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
