"""The tree of base packages, made so that it depends on them alone: it may be kept, and others begin with it."""

from __future__ import annotations

from pathlib import Path

from rootfs.normalise import DAY, clamp_shadow
from rootfs.run import run
from rootfs.stage_two.plan import Plan

KEEPING = ("--xattrs", "--xattrs-include=*", "--numeric-owner")
# The tar of a tree with the order, and all that counts, as `members.from_tree` has it.
TAR = ("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--sort=name", *KEEPING)


def settle(plan: Plan) -> None:
    """Take back the times of its making, and write the tree down where it is to be kept.

    Through a second mount of the tree, in which what is mounted in the first does not show.
    """
    view = plan.scratch / "view"
    view.mkdir()
    clamp_days(plan.tree, plan.base_epoch)
    run(["mount", "--bind", plan.tree, view])
    moment = f"@{plan.base_epoch}"
    touch = ("touch", "--no-dereference", "--no-create", f"--date={moment}")
    run(["find", view, "-newermt", moment, "-exec", *touch, "{}", "+"])
    if plan.keep:
        run([*TAR, f"--file={plan.keep}", f"--directory={view}", "."])
    run(["umount", view])
    view.rmdir()


def clamp_days(tree: Path, epoch: int) -> None:
    """The shadow file has the day on which it was made; never a later one than what it was made of."""
    shadow = tree / "etc/shadow"
    if shadow.is_file() and (clamped := clamp_shadow(old := shadow.read_bytes(), epoch // DAY)) != old:
        shadow.write_bytes(clamped)
