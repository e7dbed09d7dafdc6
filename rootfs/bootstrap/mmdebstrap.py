"""mmdebstrap makes stage one, with hooks that unpack and install what the lock says: no apt has to find it once more.

An ordinary user is root in a user namespace of ours there, so that it works, and writes, as it does for root.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rootfs.bootstrap import local_repository
from rootfs.bootstrap.bootstrapper import Job
from rootfs.packages import deb
from rootfs.packages.decompressed import DecompressedDeb
from rootfs.process import sandbox

CHROOT_SCRIPT = "inside"  # as the hooks call it
HOOKS = Path(__file__).parent / "hooks"


def make_essential_tree(job: Job, debs: Callable[[], list[DecompressedDeb]], suite: str, epoch: int) -> None:
    """Make the tree of the packages. Raises BadDeb, ProgramFailed, ProgramTimedOut."""
    sandbox.write_script(job.folder / CHROOT_SCRIPT, job.tree)
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=custom",
        f"--architectures={job.architecture}",
        "--dpkgopt=force-unsafe-io",
        "--skip=check/signed-by,update,cleanup/apt,chroot/mount,output/mknod,output/dev",
        f"--setup-hook={HOOKS / 'unpack'}",
        f"--essential-hook={HOOKS / 'install'}",
        f"--customize-hook={HOOKS / 'clean'}",
        suite,
        job.tree,
        f"deb [trusted=yes] copy://{local_repository.MOUNT_POINT} {suite} main",
    ]
    local_repository.run_bootstrapper(job, command, epoch, lambda: b"".join(map(_contents, debs())))


def _contents(made: DecompressedDeb) -> bytes:
    """Where the tar of a deb's files is, as the hook reads it: its first byte, its size, and the deb's path."""
    start, size = deb.member_offsets(made.path)["data.tar"]
    return f"{start}\0{size}\0{local_repository.POOL}/{made.path.name}\0".encode()
