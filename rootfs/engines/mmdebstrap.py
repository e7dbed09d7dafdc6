"""mmdebstrap makes stage one, with hooks that unpack and install what the lock says: no apt has to find it once more.

An ordinary user is root in a user namespace of ours there, so that it works, and writes, as it does for root.
"""

from __future__ import annotations

from pathlib import Path

from rootfs.engines import Job, repository
from rootfs.programs import alone

HOOKS = Path(__file__).parent / "hooks"


def stage_one(job: Job, suite: str, epoch: int) -> None:
    """Make the tree of the repository's packages. Raises ProgramFailed, ProgramTimedOut."""
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=custom",
        f"--architectures={job.architecture}",
        "--dpkgopt=force-unsafe-io",
        "--skip=check/signed-by,update,cleanup/apt",
        f"--setup-hook={HOOKS / 'unpack'}",
        f"--essential-hook={HOOKS / 'install'}",
        f"--customize-hook={HOOKS / 'clean'}",
        suite,
        job.tree,
        f"deb [trusted=yes] copy://{repository.place(job.repository)} {suite} main",
    ]
    with alone():
        repository.bootstrap(job, command, epoch)
