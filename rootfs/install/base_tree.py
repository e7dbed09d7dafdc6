"""Trees of essential and of base packages: made independent of time and machine, and saved for the tree cache."""

from __future__ import annotations

from pathlib import Path

from rootfs.install import chroot_files
from rootfs.install.plan import Plan
from rootfs.process.run import run
from rootfs.tree.normalize import DAY, clamp_shadow

TAR_OPTIONS = ("--xattrs", "--xattrs-include=*", "--numeric-owner", "--blocking-factor=2048")  # of 512 bytes
# Creates the tar of a tree with all metadata that counts, the same on every file system.
CREATE_TAR = (
    "tar",
    "--create",
    "--format=posix",
    "--pax-option=delete=atime,delete=ctime",
    "--sort=name",
    *TAR_OPTIONS,
)


def finish_base(plan: Plan) -> None:
    """Normalize the tree of the base packages, and save it as a tar where the plan says so.

    It is read through a second mount of the tree, in which the mounts below the first one are not visible.
    """
    view = plan.work / "view"
    view.mkdir()
    run(["mount", "--bind", plan.tree, view])
    _finish(view, plan.base_epoch, plan.save_to.get("base"))
    run(["umount", view])
    view.rmdir()


def finish_essential(plan: Plan) -> None:
    """Normalize the tree of the essential packages as if it came out of the tree cache, and save it as a tar."""
    chroot_files.empty_folder(plan.tree / "dev")  # an ordinary user cannot create devices; images have their own
    _finish(plan.tree, plan.start_epoch, plan.save_to.get("essential"))


def _finish(tree: Path, epoch: int, tar: Path | None) -> None:
    clamp_password_dates(tree, epoch)
    moment = f"@{epoch}"
    touch = ("touch", "--no-dereference", "--no-create", f"--date={moment}")
    run(["find", tree, "-newermt", moment, "-exec", *touch, "{}", "+"])
    if tar:
        run([*CREATE_TAR, f"--file={tar}", f"--directory={tree}", "."])


def clamp_password_dates(tree: Path, epoch: int) -> None:
    """Clamp the dates of passwords in the shadow file, which are the day of the build, to the packages' epoch."""
    shadow = tree / "etc/shadow"
    if shadow.is_file() and (clamped := clamp_shadow(old := shadow.read_bytes(), epoch // DAY)) != old:
        shadow.write_bytes(clamped)
