"""Another user of the machine cannot read, stop, mislead or damage a build. Needs root."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.factory import Factory
from tests.support.outcome import SLOWEST_END, start, stop

STRANGER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
OPEN = r"\( -readable -o -writable -o -executable \)"
HOME = "BASEFORGE_HOME"


@pytest.fixture
def site(seed: Factory) -> Iterator[Factory]:
    """A site whose work folders are in folders that all users share, as /tmp and /dev/shm are; everybody gets there."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        memory = Path(folder, "memory")
        place = Factory(Path(folder, "site"), {**seed.settings, "BASEFORGE_MEMORY": str(memory)})
        shutil.copytree(seed.recipes, place.recipes)
        shutil.copytree(seed.folder / "store", place.folder / "store")
        for shared in (place.work, memory):
            shared.mkdir(exist_ok=True)
            shared.chmod(0o1777)
        yield place
        assert [line for line in place.leftovers() if "smoke" in line] == []


def stranger(script: str) -> str:
    """What a shell script of another user prints."""
    done = subprocess.run([*STRANGER, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def seen_by_others(place: Factory) -> list[str]:
    """What another user can open of what builds write."""
    home, shared = place.environment[HOME], (place.work, place.settings["BASEFORGE_MEMORY"])
    assert stranger(f"find {shlex.quote(str(place.recipes))} {OPEN}"), "other users get to the site"
    below = " ".join(shlex.quote(str(folder)) for folder in shared)
    return stranger(f"find {shlex.quote(home)} {OPEN}; find {below} -mindepth 1 {OPEN}").splitlines()


def test_nothing_of_a_build_can_be_read_while_it_runs_and_afterwards(site, probe):
    recipes.checked(site, "slow", probe, "{run: [/probe, sleep, '600']}")
    seen = ["nothing was looked at"]

    def look(_: str) -> bool:
        if not any("baseforge-smoke-" in line for line in site.leftovers()):
            return False
        seen[:] = seen_by_others(site)
        return True

    assert stop(start(site, "build", "slow"), look).status == 130
    assert seen == []
    assert site.run("log", "slow").status == 0
    assert seen_by_others(site) == []


@pytest.mark.parametrize("what", ["ln -s {target} {name}", "mkdir {name}", "touch {name}", "mkdir -m 700 {name}"])
def test_another_user_takes_the_predictable_folder_name(site, what):
    target = site.folder / "target"
    target.write_text("precious")
    for shared in (site.work, Path(site.settings["BASEFORGE_MEMORY"])):
        stranger(what.format(name=shared / f"baseforge-{os.geteuid()}", target=target))
        assert len(list(shared.iterdir())) == 1
    done = site.run("build", "tiny", "--force", "--no-publish")
    assert done.status == 0, done.stderr
    assert target.read_text() == "precious"
    assert seen_by_others(site) == stranger(f"find {site.work} {site.settings['BASEFORGE_MEMORY']} -user 65534").split()


@contextlib.contextmanager
def nameless(text: str) -> Iterator[str]:
    """The id of an image of somebody's in the engine that has no name."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        member = tarfile.TarInfo("motd")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    words = ["docker", "import", "-"]
    done = subprocess.run(words, input=data.getvalue(), check=True, capture_output=True)
    image = done.stdout.decode().strip()
    try:
        yield image
    finally:
        subprocess.run(["docker", "rmi", image], check=False, capture_output=True)


def test_notes_and_locks_of_other_users_end_no_run_and_remove_no_image(site, probe):
    recipes.checked(site, "slow", probe, "{run: [/probe, sleep, '600']}")
    running = start(site, "build", "slow")
    with nameless("somebody's") as image, running.process:
        try:
            running.until(lambda _: any("baseforge-smoke-" in line for line in site.leftovers()))
            [run] = {path.name for path in site.work.glob("**/*-*-*-*-*") if path.is_dir()}
            for shared in (site.work, Path(site.settings["BASEFORGE_MEMORY"])):
                for name in (run.removeprefix("baseforge-"), "dead"):
                    note = f"{shared}/baseforge-{name}"
                    stranger(f"touch {note}.lock; mkdir {note}; echo {image} >{note}/images")
            assert site.run("build", "tiny", "--force", "--no-publish").status == 0
            time.sleep(0.5)
            assert running.process.poll() is None, running.said
            assert any("baseforge-smoke-" in line for line in site.leftovers()), "the container is still there"
            assert subprocess.run(["docker", "inspect", image], check=False, capture_output=True).returncode == 0
        finally:
            running.process.terminate()
            running.end(SLOWEST_END)


def test_another_user_cannot_hold_the_lock_of_a_store(site):
    assert site.run("build", "tiny", "--force").status == 0
    lock = site.folder / "store/.lock"
    with subprocess.Popen([*STRANGER, "flock", "--no-fork", lock, "sleep", "600"], stderr=subprocess.DEVNULL) as holder:
        try:
            time.sleep(0.3)
            assert site.run("build", "tiny", "--force", timeout=30).status == 0
        finally:
            holder.kill()


def test_serve_keeps_nothing_in_a_folder_that_all_users_share(site):
    stranger(f"touch {site.work}/runner_storage")  # a name that Prefect's runner takes by itself
    running = start(site, "serve", env={"TMPDIR": str(site.work)})
    with running.process:
        try:
            running.until(lambda said: "nightly:" in said)
            time.sleep(3)
            assert running.process.poll() is None, running.said
            assert [path.name for path in site.work.iterdir() if path.is_dir()] == []
        finally:
            running.process.terminate()
            running.end(SLOWEST_END)
