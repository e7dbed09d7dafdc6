"""Pruning of caches: the least recently used file is removed first."""

from __future__ import annotations

import os

import pytest

from rootfs.system.cache import last_used, prune


@pytest.fixture
def folder(tmp_path):
    for age, name in enumerate(("newest", "middle", "oldest.lock")):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    return tmp_path


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("limits", [{"max_bytes": 20}, {"max_entries": 2}, {"max_bytes": 29, "max_entries": 3}])
def test_the_least_recently_used_file_is_removed_first(folder, limits):
    prune(folder, **limits)
    assert names(folder) == {"newest", "middle"}


def test_nothing_is_removed_within_the_limits(folder):
    prune(folder, max_bytes=30, max_entries=3)
    assert len(names(folder)) == 3


def test_files_of_other_names_do_not_count(folder):
    prune(folder, pattern="*[!k]", max_bytes=0)
    assert names(folder) == {"oldest.lock"}


def test_folders_are_removed_with_their_content(tmp_path):
    for age, name in enumerate(("new", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "used").touch()
        os.utime(tmp_path / name / "used", (1000 - age, 1000 - age))
    prune(tmp_path, max_entries=1, used=lambda path: last_used(path / "used"))
    assert names(tmp_path) == {"new"}


def test_a_missing_folder_is_no_error(tmp_path):
    prune(tmp_path / "none", max_bytes=0)
