"""Full disks: the build ends, and no partial file is left."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.outcome import complains


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size at this place."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize(
    ("room", "step", "words"), [(60, "pack", "no space is left in"), (20, "tree", "no space is left in")]
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


def test_no_room_in_the_data_folder(site):
    """The log cannot be written, nor can the running server's database grow. Neither network nor bug is to blame."""
    recipes.commands(site, "talks", "seq 100000; echo x >made")
    home = site.folder / "home"
    env = {"BASEFORGE_HOME": str(home)}
    with small_disk(home, 100):
        try:
            assert site.run("build", "tiny", "--force", "--no-publish", env=env).status == 0  # starts the server
            fill(home / "filler")
            done = site.run("build", "talks", env=env, timeout=150)
        finally:
            (home / "filler").unlink(missing_ok=True)
            site.run("stop", env=env)
    complains(done, 1, f"no space is left in {home}", "BASEFORGE_HOME")
    assert "bug" not in done.stderr


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 12))


def test_no_room_for_the_server(site):
    home = site.folder / "home"
    with small_disk(home, 2):
        done = site.run("build", "tiny", "--force", env={"BASEFORGE_HOME": str(home)})
    complains(done, 1, f"no space is left in {home}", "BASEFORGE_HOME")
