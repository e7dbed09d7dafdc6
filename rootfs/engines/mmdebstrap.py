"""mmdebstrap makes stage one: everything is unpacked at once, and the tree comes out as a tar.

An ordinary user is root in a user namespace of ours there, so that it works, and writes, as it does for root.
"""

from __future__ import annotations

from pathlib import Path

from rootfs.engines import Job, repository

# What says where the packages came from, and that nothing was synced to disk. A hook is a shell command; this one holds
# no value of ours.
CLEAN = 'rm "$1/etc/apt/sources.list" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"'


def stage_one(job: Job, folder: Path, suite: str, epoch: int, tar: Path) -> None:
    """Write the tree of the repository's packages to `tar`, with no time after `epoch`. Raises ProgramFailed."""
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=tar",
        "--variant=essential",
        f"--architectures={job.architecture}",
        "--dpkgopt=force-unsafe-io",
        f"--customize-hook={CLEAN}",
        suite,
        tar,
        f"deb [trusted=yes] copy://{repository.place(folder)} {suite} main",
    ]
    repository.bootstrap(job, folder, epoch, command)
