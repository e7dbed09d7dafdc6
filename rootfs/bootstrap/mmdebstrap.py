"""The bootstrapper mmdebstrap: hooks unpack and install the packages of the lock, so that it need not resolve them.

An ordinary user is root in a user namespace of ours, so that mmdebstrap works as it does for root.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rootfs.bootstrap import local_repository
from rootfs.bootstrap.bootstrapper import Job
from rootfs.packages import deb
from rootfs.packages.decompressed import DecompressedDeb
from rootfs.process import sandbox

CHROOT_SCRIPT = "inside"  # the name that the hooks use
HOOKS = Path(__file__).parent / "hooks"
MERGED = "usr-is-merged"  # the package that says that /bin, /sbin and /lib are links


def make_essential_tree(job: Job, debs: Callable[[], list[DecompressedDeb]], suite: str, epoch: int) -> None:
    """Make the tree of the essential packages. Raises BadDeb, ProgramFailed, ProgramTimedOut."""
    sandbox.write_script(job.folder / CHROOT_SCRIPT, job.tree)
    merge = [f"--setup-hook={HOOKS / 'merge'}"] if any(each.name == MERGED for each in job.lock.packages) else []
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=custom",
        f"--architectures={job.architecture}",
        "--dpkgopt=force-unsafe-io",
        "--skip=check/signed-by,update,cleanup/apt,chroot/mount,output/mknod,output/dev",
        f"--setup-hook={HOOKS / 'unpack'}",
        *merge,
        f"--essential-hook={HOOKS / 'install'}",
        f"--customize-hook={HOOKS / 'clean'}",
        suite,
        job.tree,
        f"deb [trusted=yes] copy://{local_repository.MOUNT_POINT} {suite} main",
    ]
    local_repository.run_bootstrapper(job, command, epoch, lambda: b"".join(map(_contents, debs())))


def _contents(made: DecompressedDeb) -> bytes:
    """The position of a deb's tar of files, as the hook `unpack` reads it: first byte, size, and path of the deb."""
    start, size = deb.member_offsets(made.path)["data.tar"]
    return f"{start}\0{size}\0{local_repository.POOL}/{made.path.name}\0".encode()
