"""Programs of other machines on this one: whether the kernel runs them, by itself or through QEMU (binfmt_misc)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rootfs.errors import BaseforgeError, EmulationMissing
from rootfs.lock.lock import native_architecture
from rootfs.process.run import run
from rootfs.system.platforms import platform_name

TIMEOUT = 20.0  # seconds for a program that does nothing but say so


def runs(architecture: str) -> bool:
    """Whether programs for one of Debian's architectures run here, also in a root filesystem without the emulator.

    That is tried out: by arch-test, which runs a program in an empty folder. There an emulator is found only where it
    was registered with the flag F (Linux, Documentation/admin-guide/binfmt-misc.rst), as in a container.
    """
    if architecture == native_architecture():
        return True
    with TemporaryDirectory(prefix="baseforge-") as folder:
        Path(folder).chmod(0o755)
        try:
            tried = run(["arch-test", "-c", folder, architecture], check=False, contained=True, timeout=TIMEOUT)
        except BaseforgeError:  # no arch-test, or no way to contain it
            return False
    return tried.status == 0


def require(image: str, architecture: str, why: str) -> None:
    """See that programs for the architecture run here. Raises EmulationMissing, with the reason that is said."""
    if not runs(architecture):
        raise EmulationMissing(image, platform_name(architecture), why)
