"""Disks that are full: the build ends, and what was half-written is gone."""

from __future__ import annotations

import contextlib
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


@pytest.mark.parametrize(("room", "step"), [(60, "pack"), (20, "tree")])
def test_no_room_in_the_work_folder(site, room, step):
    recipes.random_data(site, "large", 40)
    with small_disk(site.work, room):
        done = site.run("build", "large")
        assert list(site.work.iterdir()) == []
    complains(done, 1, f"✗ {step} large", "o space left")  # ours is in lower case, the program's own is not
    assert done.stderr.count("✗") == 1


def test_no_room_in_the_store(site):
    recipes.random_data(site, "large", 40)
    blobs = site.folder / "store/blobs"
    kept = {path: path.read_bytes() for path in blobs.rglob("*") if path.is_file()}
    with small_disk(blobs, 30):
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        done = site.run("build", "large")
        assert {path: path.read_bytes() for path in blobs.rglob("*") if path.is_file()} == kept
    complains(done, 1, "✗ publish large", "no space is left in", "Free some")
