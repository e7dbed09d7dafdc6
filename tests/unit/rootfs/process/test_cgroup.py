"""Control groups of both versions: where they can be made, and which limit was reached."""

import os
import subprocess

import pytest

from rootfs.process import cgroup
from rootfs.process.cgroup import ControlGroup, parent_of


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine's control groups, as files: their mounts, this process's own, and which controllers are handed down."""

    def made(mounts, own, controllers):
        (tmp_path / "mounts").write_text("".join(f"x {tmp_path}/{line} 0 0\n" for line in mounts))
        (tmp_path / "own").write_text("".join(f"{line}\n" for line in own))
        for folder, words in controllers.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / "cgroup.subtree_control").write_text(words)
            (tmp_path / folder / "cgroup.procs").touch()
        monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mounts")
        monkeypatch.setattr(cgroup, "OWN_GROUP", tmp_path / "own")
        return tmp_path

    return made


def test_version_2_uses_the_nearest_group_that_delegates_the_controller(machine):
    handed = {"v2": "memory pids", "v2/system.slice": "cpu memory pids", "v2/system.slice/own.service": ""}
    folder = machine(["v2 cgroup2 rw"], ["0::/system.slice/own.service"], handed)
    assert parent_of("memory") == folder / "v2/system.slice"


def test_version_2_without_controllers_has_no_group(machine):
    machine(["v2 cgroup2 rw"], ["0::/"], {"v2": ""})
    assert parent_of("pids") is None


def test_version_1_uses_a_group_below_its_own(machine):
    mounts, own = ["v1 cgroup rw,memory", "v2 cgroup2 rw"], ["4:memory:/own", "0::/"]
    folder = machine(mounts, own, {"v1/own": "", "v2": ""})
    assert parent_of("memory") == folder / "v1/own"


def test_a_container_that_does_not_see_its_own_group_uses_what_is_mounted(machine):
    folder = machine(["v1 cgroup rw,pids"], ["4:pids:/docker/0123"], {"v1": ""})
    assert parent_of("pids") == folder / "v1"


def test_without_rights_there_is_no_group(machine):
    machine(["v2 cgroup2 rw"], ["0::/"], {"v2": ""})
    with cgroup.control_group(1 << 30, 100) as made:
        assert made is None


@pytest.mark.parametrize(
    ("events", "pids", "reached"),
    [
        ("max 7\noom 2\noom_kill 1\n", "max 0\n", "memory"),
        ("max 7\noom 0\noom_kill 0\n", "max 3\n", "processes"),
        ("oom_kill 0\n", "max 0\n", None),
    ],
)
def test_the_reached_limit_is_named(tmp_path, events, pids, reached):
    (tmp_path / "memory.events").write_text(events)
    (tmp_path / "pids.events").write_text(pids)
    assert ControlGroup(tmp_path, tmp_path).reached() == reached


def test_limits_of_version_2(tmp_path):
    ControlGroup(tmp_path, tmp_path).limit(1 << 30, 100)
    said = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert said == {"memory.max": "1073741824", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "100"}


def test_a_group_of_a_live_process_is_left_alone_whatever_the_clock_says(machine, monkeypatch):
    monkeypatch.setattr(cgroup, "REMOVE_TIMEOUT", 0.05)  # our own group has files that only the kernel removes
    folder = machine(["v2 cgroup2 rw"], ["0::/"], {"v2": "memory pids"})
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    theirs, left = folder / f"v2/baseforge-{os.getpid()}-a", folder / f"v2/baseforge-{ended}-b"
    for group in (theirs, left):
        group.mkdir()
        os.utime(group, (0, 0))
    with cgroup.control_group(1 << 30, 100):
        assert theirs.is_dir()
        assert not left.exists()
