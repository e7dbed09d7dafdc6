"""The units of deploy/systemd, as systemd itself reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy/systemd"
SYSTEM = ("sysinit", "basic", "shutdown", "network-online", "multi-user", "timers", "time-set", "time-sync", "-")
PROGRAM = "opt/baseforge/.venv/bin/baseforge"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a system that has the units, and the program that they start."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS.iterdir():
        (units / unit.name).write_text(unit.read_text())
    for target in SYSTEM:
        (units / (f"{target}.target" if target != "-" else "-.slice")).write_text("[Unit]\n")
    program = tmp_path / PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def verified(root: Path) -> str:
    """What systemd says about the units: nothing if they are right."""
    names = [unit.name for unit in UNITS.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--generators=no", f"--root={root}", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_systemd_accepts_the_units(root):
    assert verified(root) == ""


@pytest.mark.parametrize(
    ("unit", "old", "new"),
    [
        ("baseforge.service", "Type=exec", "Type=always"),
        ("baseforge-nightly.service", f"/{PROGRAM}", "/opt/nothing"),
        ("baseforge-nightly.timer", "02:00:00", "25:00:00"),
    ],
)
def test_a_wrong_unit_is_noticed(root, unit, old, new):
    file = root / "etc/systemd/system" / unit
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert unit in verified(root)


def test_the_timer_runs_every_night():
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=2", "*-*-* 02:00:00 UTC"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OnCalendar=*-*-* 02:00:00 UTC" in (UNITS / "baseforge-nightly.timer").read_text()
    assert done.stdout.count("02:00:00 UTC") >= 2
