"""Locks of the real archives: the packages that the distributions' own tools choose, quickly, for any user."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site
from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.system.errors import DiskFull

NOBODY = 65534
SOON = 0.25  # of what mmdebstrap takes to resolve a suite, for one recipe more (measured: 0.14, which is 0.9 s)
CASES = [("noble", "minbase"), ("trixie", "minbase"), ("trixie", "buildd"), ("noble", "important")]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Apt:
    return Apt(tmp_path_factory.mktemp("apt"), Site(), log=print)


def locked(night: Apt, suite: str, **keys: object) -> Lock:
    recipe = DebootstrapRecipe.model_validate({"name": "it", "kind": "debootstrap", "suite": suite, **keys})
    return night.lock(recipe, Path("/nonexistent"), native_architecture())


@pytest.mark.parametrize(("suite", "variant"), CASES)
def test_a_variant_has_the_packages_that_mmdebstrap_installs(night: Apt, suite: str, variant: str) -> None:
    """mmdebstrap before 1.4 leaves apt out where the archive does not call it required."""
    lock = locked(night, suite, variant=variant)
    assert {package.file_name.removesuffix(".deb") for package in lock.packages} == simulated(suite, variant)


def simulated(suite: str, variant: str) -> set[str]:
    """NAME_VERSION_ARCHITECTURE of everything that mmdebstrap would install: its essential stage, then the rest."""
    argv = ["mmdebstrap", "--simulate", f"--variant={variant}", "--include=apt", "--verbose", suite, "/dev/null"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found = re.findall(r"^Inst (\S+) \((\S+) .*\[(\S+)\]\)", done.stdout + done.stderr, re.MULTILINE)
    return {f"{name}_{version.replace(':', '%3a')}_{architecture}" for name, version, architecture in found}


def test_a_disk_that_is_too_small_for_the_lists_is_named(tmp_path: Path) -> None:
    """apt reports it as a failure of the archive."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(DiskFull, match=f"no space is left in {tmp_path}"):
            locked(Apt(tmp_path / "apt", Site(), log=print), "trixie")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_the_essential_packages_need_no_others(night: Apt) -> None:
    """What is installed first needs nothing of what is installed later."""
    lock = locked(night, "trixie", include=("gawk", "ca-certificates"), recommends=True)
    first = locked(night, "trixie", variant="essential")
    assert {package.name for package in lock.packages if package.essential} == {each.name for each in first.packages}


def test_another_recipe_is_resolved_quickly(night: Apt) -> None:
    """In the processor's seconds, and against another program's: machines are not equally fast, nor is one always."""
    locked(night, "trixie")
    taken = []
    for name in ("nano", "less", "curl"):
        before = spent()
        locked(night, "trixie", include=(name,))
        taken.append(spent() - before)
    before = spent()
    simulated("trixie", "minbase")
    assert min(taken) < SOON * (spent() - before), taken


def spent() -> float:
    """Seconds of the processor that we and our programs have taken."""
    return sum(os.times()[:4])


def test_an_ordinary_user_gets_the_same_lock(night: Apt, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from rootfs.apt.resolve import Apt; from rootfs.apt.sources import Site\n"
        "from rootfs.recipe.debootstrap import DebootstrapRecipe as R\n"
        "from rootfs.process.host import native_architecture as n\n"
        "print(Apt(pathlib.Path(sys.argv[1]), Site(), log=lambda line: None)"
        ".lock(R(name='it', kind='debootstrap', suite='trixie'), pathlib.Path('/'), n()).model_dump_json())"
    )
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    done = subprocess.run(
        [*user, sys.executable, "-c", script, home / "cache"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Lock.model_validate(json.loads(done.stdout)) == locked(night, "trixie")
