"""debootstrap, the classic, makes stage one on disk; tar then writes it down."""

from __future__ import annotations

import shutil
from pathlib import Path

from rootfs.engines import Job, is_root, remove_tree, repository
from rootfs.errors import NeedsRoot, ProgramFailed
from rootfs.run import run
from rootfs.stage_two import places

# What its scripts for some suites want although the lock may not have it: apt comes in stage two, with what it needs.
WANTED = ("apt", "usr-is-merged")
LOG = "debootstrap/debootstrap.log"  # in the tree
LINES = 100  # of its log that are shown when it fails
LEFT_OVER = ("debootstrap", "etc/apt/sources.list", "var/lib/apt/lists", "var/cache/apt/archives")
FOLDERS = ("/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial")
BEHIND = ("./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*")
TAR = ("tar", "--create", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--clamp-mtime")


def stage_one(job: Job, folder: Path, suite: str, epoch: int, tar: Path) -> None:
    """Write the tree of the repository's packages to `tar`, with no time after `epoch`.

    Raises NeedsRoot for an ordinary user, ProgramFailed.
    """
    if not is_root():
        raise NeedsRoot("debootstrap")
    root = job.folder / "base"
    try:
        _bootstrap(job, folder, suite, epoch, root)
    except ProgramFailed as error:
        log = root / LOG
        said = log.read_text(errors="replace").splitlines()[-LINES:] if log.is_file() else []
        raise ProgramFailed("debootstrap", error.exit_status, "\n".join(said) or error.output) from error
    for path in LEFT_OVER:
        place = root / path
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    for path in FOLDERS:
        places.folder(root, path)  # of one mode, whatever the umask of this process
    exclude = [f"--exclude={pattern}" for pattern in BEHIND]
    run([*TAR, f"--mtime=@{epoch}", *exclude, f"--file={tar}", f"--directory={root}", "."])
    remove_tree(root)


def _bootstrap(job: Job, folder: Path, suite: str, epoch: int, root: Path) -> None:
    essential = [package for package in job.lock.packages if package.essential]
    names = {package.name for package in essential}
    smallest = min(essential, key=lambda package: (package.size, package.name))
    command: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        "--no-check-gpg",
        "--no-resolve-deps",
        f"--arch={job.architecture}",
        f"--exclude={','.join(name for name in WANTED if name not in names)}",
        # It fails where nothing but required packages is asked for: one of them is named once more.
        f"--include={smallest.name}",
        suite,
        root,
        f"file://{repository.place(folder)}",
    ]
    repository.bootstrap(job, folder, epoch, command)
