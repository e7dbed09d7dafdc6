"""The machine that we run on: its architecture, its Debian packages, and whether it runs other machines' programs.

The kernel runs programs of other machines by itself or through QEMU (binfmt_misc).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from rootfs.errors import BaseforgeError, MachineError, RecipeValue
from rootfs.process.run import SYSTEM_PATH, run
from rootfs.system.platforms import platform_name

DPKG_STATUS = Path("/var/lib/dpkg/status")
LISTS = Path("/var/lib/apt/lists")
TEST_TIMEOUT = 20.0  # seconds for a program that only exits


def package_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of Debian packages on this machine. Raises MachineError for those that are not."""
    if not packages:
        return {}
    found = _installed(DPKG_STATUS.stat().st_mtime_ns if DPKG_STATUS.is_file() else 0)
    if missing := [package for package in packages if package not in found]:
        raise tools_missing(missing, _unknown(missing))
    return {package: found[package] for package in sorted(packages)}


@lru_cache
def _installed(_changed: int) -> dict[str, str]:
    """The versions of all installed packages, cached until dpkg's status file changes."""
    show_format = "--showformat=${db:Status-Status} ${Package} ${Version}\n"
    lines = [line.split() for line in run(["dpkg-query", "--show", show_format], check=False).stdout.splitlines()]
    return {words[1]: words[2] for words in lines if words[0] == "installed"}


@lru_cache
def native_architecture() -> str:
    """Debian's name for this machine's architecture (`amd64`, `arm64`, …)."""
    return run(["dpkg", "--print-architecture"]).stdout.strip()


def can_run(architecture: str) -> bool:
    """Whether programs for one of Debian's architectures run here, also in a root filesystem without the emulator.

    arch-test runs a program in an empty folder. There an emulator is found only where it was registered with the flag F
    (Linux, Documentation/admin-guide/binfmt-misc.rst), as in a container.
    """
    if architecture == native_architecture():
        return True
    with TemporaryDirectory(prefix="baseforge-") as folder:
        Path(folder).chmod(0o755)
        try:
            tried = run(["arch-test", "-c", folder, architecture], check=False, contained=True, timeout=TEST_TIMEOUT)
        except BaseforgeError:  # no arch-test, or no way to contain it
            return False
    return tried.status == 0


def require_emulation(image: str, architecture: str, why: str) -> None:
    """Check that programs for the architecture run here. Raises MachineError, which says why they must."""
    if not can_run(architecture):
        raise MachineError(
            f"this machine cannot run programs for {platform_name(architecture)}, and {image} needs that: {why}",
            hint="sudo ./baseforge setup --emulation brings QEMU and registers it.",
        )


def _unknown(packages: Sequence[str]) -> list[str]:
    """Those of some packages that this machine's apt does not know; none where it has no lists of packages."""
    if not any(LISTS.glob("*_Packages*")):
        return []
    known = run(["apt-cache", "pkgnames"], check=False).stdout.split()
    return [package for package in packages if package not in known]


def toolchain_programs(names: Iterable[str], toolchains: Iterable[Path]) -> dict[str, Path]:
    """The programs of toolchains that tools of these names are, unless packages of the names are installed.

    A toolchain is a folder with a `bin`.
    """
    folders, wanted = list(toolchains), list(names)
    if not folders or not wanted:
        return {}
    installed = _installed(DPKG_STATUS.stat().st_mtime_ns if DPKG_STATUS.is_file() else 0)
    path = ":".join(str(folder / "bin") for folder in folders)
    found = {name: shutil.which(name, path=path) for name in wanted if name not in installed}
    return {name: Path(program) for name, program in found.items() if program}


def tools_missing(packages: Sequence[str], unknown: Collection[str] = ()) -> MachineError:
    """Packages of this machine that a recipe is built with are not installed. apt does not know those in `unknown`."""
    installable = [package for package in packages if package not in unknown]
    hints = [f"sudo apt-get install --no-install-recommends {' '.join(installable)}"] if installable else []
    hints += [_about_unknown(package) for package in packages if package in unknown]
    about = RecipeValue([*unknown, *packages][0], ("tools",))
    return MachineError(f"not installed: {', '.join(packages)}", hint="\n  ".join(hints), about=about)


def _about_unknown(package: str) -> str:
    program = shutil.which(package, path=SYSTEM_PATH)
    there = f"is {program}, of no package of this name" if program else f"is in none of {SYSTEM_PATH}"
    return (
        f"apt knows no package {package!r}, and no folder of the setting `toolchains` has a program bin/{package};"
        f" a program {package!r} {there}."
    )
