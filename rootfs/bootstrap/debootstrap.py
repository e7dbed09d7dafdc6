"""The bootstrapper debootstrap."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from rootfs.bootstrap import local_repository
from rootfs.bootstrap.bootstrapper import Job, is_root
from rootfs.errors import MachineError
from rootfs.install import chroot_files
from rootfs.packages.decompressed import DecompressedDeb
from rootfs.process import sandbox
from rootfs.process.errors import ProgramFailed

# Packages that its scripts for some suites ask for, though the lock may not have them: the installer installs apt.
OPTIONAL_PACKAGES = ("apt", "usr-is-merged")
CHROOT = "/usr/sbin/chroot"
LOG = "debootstrap/debootstrap.log"  # in the tree
LOG_LINES = 100  # lines of its log that are shown when it fails
LEFT_OVER = ("debootstrap", "etc/apt/sources.list", "var/lib/apt/lists", "var/cache/apt/archives")
FOLDERS = ("/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial")
EMPTY_FOLDERS = ("dev", "proc", "sys", "tmp")


def make_essential_tree(job: Job, debs: Callable[[], list[DecompressedDeb]], suite: str, epoch: int) -> None:
    """Make the tree of the essential packages.

    Raises MachineError for an ordinary user, ProgramFailed, ProgramTimedOut.
    """
    if not is_root():
        raise MachineError("the engine debootstrap needs root", hint="Run with sudo, or use `engine: mmdebstrap`.")
    local_repository.write_index(job.repository, debs(), suite, job.architecture)
    try:
        _bootstrap(job, suite, epoch)
    except ProgramFailed as error:
        log = job.tree / LOG
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.is_file() else []
        raise ProgramFailed("debootstrap", error.exit_status, "\n".join(lines) or error.output) from error
    for path in LEFT_OVER:
        place = job.tree / path
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    for path in FOLDERS:
        chroot_files.make_folder(job.tree, path)  # with a fixed mode, whatever the umask of this process
    for path in EMPTY_FOLDERS:
        chroot_files.empty_folder(job.tree / path)


def _bootstrap(job: Job, suite: str, epoch: int) -> None:
    essential = [package for package in job.lock.packages if package.essential]
    names = {package.name for package in essential}
    smallest = min(essential, key=lambda package: (package.size, package.name))
    command: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        "--no-check-gpg",
        "--no-resolve-deps",
        f"--arch={job.architecture}",
        f"--exclude={','.join(name for name in OPTIONAL_PACKAGES if name not in names)}",
        # It fails where only required packages are asked for, so one of them is named explicitly.
        f"--include={smallest.name}",
        suite,
        job.tree,
        f"file://{local_repository.MOUNT_POINT}",
    ]
    # It runs programs of the tree through chroot, which our sandboxed script replaces.
    inside = sandbox.write_script(job.folder / "chroot", job.tree, as_chroot=True)
    local_repository.run_bootstrapper(job, command, epoch, bound=((inside, CHROOT),))
