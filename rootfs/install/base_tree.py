"""Trees of essential and base packages, made so that they depend on these alone: kept, for others to begin with."""

from __future__ import annotations

from pathlib import Path

from rootfs.install import chroot_files
from rootfs.install.plan import Plan
from rootfs.process.run import run
from rootfs.tree.normalize import DAY, clamp_shadow

KEEPING = ("--xattrs", "--xattrs-include=*", "--numeric-owner", "--blocking-factor=2048")  # of 512 bytes
# The tar of a tree with all that counts, whatever file system it was on.
TAR = ("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--sort=name", *KEEPING)


def settle(plan: Plan) -> None:
    """Take back the times of its making, and write the tree down where it is to be kept.

    Through a second mount of the tree, in which what is mounted in the first does not show.
    """
    view = plan.scratch / "view"
    view.mkdir()
    run(["mount", "--bind", plan.tree, view])
    _settle(view, plan.base_epoch, plan.keep.get("base"))
    run(["umount", view])
    view.rmdir()


def begin(plan: Plan) -> None:
    """What stage one has made, as if it came out of a tar that was kept of it."""
    chroot_files.empty(plan.tree / "dev")  # an ordinary user cannot make any devices; images get their own
    _settle(plan.tree, plan.start_epoch, plan.keep.get("essential"))


def _settle(tree: Path, epoch: int, tar: Path | None) -> None:
    clamp_days(tree, epoch)
    moment = f"@{epoch}"
    touch = ("touch", "--no-dereference", "--no-create", f"--date={moment}")
    run(["find", tree, "-newermt", moment, "-exec", *touch, "{}", "+"])
    if tar:
        draft = tar.with_suffix(".draft")
        run([*TAR, f"--file={draft}", f"--directory={tree}", "."])
        draft.rename(tar)  # whoever waits for it finds all of it


def clamp_days(tree: Path, epoch: int) -> None:
    """The shadow file has the day on which it was made; never a later one than what it was made of."""
    shadow = tree / "etc/shadow"
    if shadow.is_file() and (clamped := clamp_shadow(old := shadow.read_bytes(), epoch // DAY)) != old:
        shadow.write_bytes(clamped)
