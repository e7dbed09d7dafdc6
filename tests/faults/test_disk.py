"""Disks that are full: the build ends, and what was half-written is gone."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import recipes
from tests.faults.outcome import complains


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size at this place."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    ("room", "step", "words"), [(60, "pack", "no space is left in"), (20, "tree", "No space left on device")]
)
def test_no_room_in_the_work_folder(site, room, step, words):
    recipes.random_data(site, "large", 40)
    with small_disk(site.work, room):
        done = site.run("build", "large")
        assert list(site.runs.iterdir()) == []
    complains(done, 1, f"✗ {step} large", words)
    assert done.stderr.count("✗") == 1


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_no_room_in_the_store(site):
    recipes.random_data(site, "large", 40)
    store, elsewhere = site.folder / "store", site.folder / "elsewhere"
    with small_disk(elsewhere, 30):
        shutil.copytree(store, elsewhere / "store")
        done = site.run("build", "large", env={"BASEFORGE_STORE": str(elsewhere / "store")})
        assert _files(elsewhere / "store") == _files(store)
    complains(done, 1, "✗ publish large", "no space is left in", "Free some")
