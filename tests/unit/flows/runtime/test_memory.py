"""Work in memory: only where there is a tmpfs with twice the room."""

import os
from pathlib import Path

import pytest

from flows.runtime import memory
from flows.runtime.memory import has_room, needed, roomy_folder
from rootfs.lock.lock import Lock, Package

TMPFS = Path("/dev/shm")


def package(size):
    said = dict.fromkeys(("name", "version", "architecture", "source", "archive", "suite", "path"), "a")
    return Package(size=size, sha256="0" * 64, **said)


def test_a_tree_takes_many_times_its_debs_and_none_without():
    assert needed(Lock(packages=(package(10), package(20)))) == 30 * memory.UNPACKED
    assert needed(Lock()) == 0


def test_at_most_half_of_what_is_free_there():
    free = os.statvfs(TMPFS)
    half = free.f_bavail * free.f_frsize // 2
    assert has_room(TMPFS, 1)
    assert not has_room(TMPFS, half + (1 << 30))


def test_at_most_half_of_what_a_container_may_use(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", [limit])
    limit.write_text("2000\n")
    assert has_room(TMPFS, 1000)
    assert not has_room(TMPFS, 1001)
    limit.write_text("max\n")
    assert has_room(TMPFS, 1001)


@pytest.mark.parametrize("place", [None, Path("/proc"), Path("/nowhere")])
def test_no_tmpfs_no_room(place):
    assert not has_room(place, 1)


def test_the_folder_is_in_memory_where_there_is_room_and_gone_after_the_block(tmp_path):
    with roomy_folder(TMPFS, 10, tmp_path, "test-memory") as place:
        assert place.parent.parent == TMPFS
    assert not place.exists()
    with roomy_folder(None, 10, tmp_path, "test-memory") as place:
        assert place == tmp_path


def test_nothing_to_make_needs_no_memory():
    assert not has_room(TMPFS, 0)
