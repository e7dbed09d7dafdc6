"""The tests' engine: it does not touch the user's engine and leaves nothing, however a run ends. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.builders.engine import Engine, connect

ROOT = Path(__file__).parents[2]
COPIED = (
    "baseforge",
    "pyproject.toml",
    "uv.lock",
    "deploy",
    "tests/run",
    "tests/conftest.py",
    "tests/support/groups.py",
    "tests/support/services/dockerd.py",
)
# A test that says where its engine is and which process it is, then waits.
PROBE = """
import os, pathlib, time
def test_probe(tmp_path):
    place = pathlib.Path(os.environ["PROBE"])
    place.with_suffix(".new").write_text(f"{os.getpid()} {os.environ['DOCKER_HOST']}")
    place.with_suffix(".new").rename(place)
    time.sleep(float(os.environ["PROBE_SECONDS"]))
"""
SLOWEST = 60.0  # seconds for a run to start its engine, or to end


@pytest.fixture
def engine() -> Iterator[Engine]:
    with connect() as reached:
        yield reached


def test_the_engine_is_not_the_machines(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = Path(engine.client.info()["DockerRootDir"])
    assert os.environ["DOCKER_HOST"] == f"unix://{kept.parent}/d.sock"
    assert kept.parent.name.startswith("dockerd-")
    shown = subprocess.run(["docker", "context", "inspect", "--format", "{{.Name}}"], capture_output=True, check=True)
    assert shown.stdout == b"default\n"
    assert Path(os.environ["DOCKER_CONFIG"]).is_relative_to(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with one test, and this one's Python environment."""
    folder = tmp_path_factory.mktemp("clone")
    for name in COPIED:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place)
        else:
            shutil.copy(ROOT / name, place)
    (folder / "tests/faults").mkdir()
    (folder / "tests/faults/test_probe.py").write_text(PROBE)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(ROOT / ".venv" / name)
    sums = subprocess.run(
        ["sha256sum", folder / "uv.lock", folder / "pyproject.toml"], capture_output=True, text=True, check=True
    )
    (folder / ".venv/baseforge.stamp").write_text(f"dev\n{sums.stdout}")
    return folder


class Run:
    """A run of the clone's tests, up to the moment when its one test has an engine."""

    def __init__(self, clone: Path, place: Path, seconds: float = 600) -> None:
        said = place / "said"
        environment = {**os.environ, "PROBE": str(said), "PROBE_SECONDS": str(seconds)}
        with (place / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [clone / "tests/run", "faults", "-q"],
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until(lambda: said.exists() or self.process.poll() is not None)
        assert said.exists(), (place / "out").read_text()
        pid, self.engine = said.read_text().split()
        self.pytest = int(pid)
        self.folder = Path(self.engine.removeprefix("unix://")).parents[1]

    def left(self) -> list[str]:
        """What there still is of it: its folder, and processes of its engine."""
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
        return [str(path) for path in [self.folder] if path.exists()] + [
            line for line in lines if f"{self.folder}" in line
        ]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SLOWEST
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_run_that_ends_leaves_nothing(clone: Path, tmp_path: Path) -> None:
    run = Run(clone, tmp_path, seconds=0)
    assert run.engine != os.environ["DOCKER_HOST"]
    assert run.process.wait(SLOWEST) == 0
    assert run.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(clone: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = Run(clone, tmp_path)
    os.killpg(run.process.pid, number) if number == signal.SIGINT else run.process.send_signal(number)
    assert run.process.wait(SLOWEST) != 0
    assert run.left() == []


def test_when_pytest_is_killed_nothing_is_left(clone: Path, tmp_path: Path) -> None:
    run = Run(clone, tmp_path)
    os.kill(run.pytest, signal.SIGKILL)
    assert run.process.wait(SLOWEST) != 0
    assert run.left() == []


def test_the_next_run_removes_what_a_killed_run_left_but_not_what_another_run_uses(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    killed = Run(clone, tmp_path / "killed")
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.process.wait(SLOWEST)
    assert killed.left() != []
    next_one = Run(clone, tmp_path, seconds=0)
    assert killed.left() == []
    assert next_one.process.wait(SLOWEST) == 0
    subprocess.run(["docker", "version"], check=True, capture_output=True)  # ours is still there
