"""Smoke checks in real containers: what they see, what they cannot do, and that they leave nothing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.builders import engine as engines
from flows.builders.engine import Engine, connect
from flows.builders.errors import EngineRefused
from flows.builders.image_import import EngineBuilder, import_image, remove_unused
from flows.smoke import container
from flows.smoke.run import CheckResult, remove_containers, smoke_test
from rootfs.errors import MachineError
from rootfs.recipe.sections import ImageSettings, SmokeCheck
from tests.support.samples import image_of
from tests.support.services.dockerd import dockerd


@pytest.fixture(scope="module")
def image_id(tmp_path_factory: pytest.TempPathFactory, probe: bytes) -> Iterator[str]:
    settings = ImageSettings(entrypoint=("/probe",), cmd=("exit", "9"), env={"KIND": "probe"}, volumes=("/data",))
    files = {"probe": probe, "unique": uuid.uuid4().hex.encode()}
    image = image_of(files, tmp_path_factory.mktemp("smoke"), settings)
    with connect() as reached:
        yield import_image(image, EngineBuilder(reached))
        remove_unused(reached, reached.image_id(image))


@pytest.fixture
def label() -> str:
    return uuid.uuid4().hex


def left(engine: Engine, label: str) -> list[str]:
    """What a run has left behind."""
    found = engine.client.api.containers(all=True, quiet=True, filters={"label": f"baseforge.run={label}"})
    return [container["Id"] for container in found]


@pytest.fixture
def check(engine: Engine, image_id: str, label: str):
    """Runs one check and gives its result; nothing is left afterwards."""

    def one(*run: str, **expected: object) -> CheckResult:
        wanted = SmokeCheck.model_validate({"run": run, **expected})
        (result,) = smoke_test(image_id, [wanted], engine, run_label=label).results
        return result

    yield one
    assert left(engine, label) == []


def test_the_entry_point_stays_and_the_command_is_replaced(check) -> None:
    result = check("say", "hello", stdout="^hello\n$")
    assert result.problems == ()
    assert (result.ran.status, result.ran.stdout, result.ran.stderr) == (0, "hello\n", "")
    assert check("exit", "3", status=3).problems == ()
    assert check("exit", "3").problems == ("exit status 3, expected 0",)


def test_output_and_errors_are_separate(check) -> None:
    ran = check("both").ran
    assert (ran.stdout, ran.stderr) == ("to stdout\n", "to stderr\n")


def test_the_environment_is_the_images(check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the host, nor what the user's docker adds for a proxy."""
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://proxy.test"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    seen = dict(line.split("=", 1) for line in check("env").ran.stdout.splitlines())
    assert seen.pop("HOSTNAME")
    assert seen == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "KIND": "probe",
        "HOME": "/",
    }


def test_a_check_has_no_rights(check) -> None:
    status = dict(line.split(":\t", 1) for line in check("show", "/proc/self/status").ran.stdout.splitlines())
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_a_check_has_no_network(check) -> None:
    interfaces = check("show", "/proc/net/dev").ran.stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def test_a_check_cannot_write(check) -> None:
    assert check("write", "/file", status=1, stderr="Read-only file system").problems == ()
    assert check("write", "/data/file").problems == ()  # a volume, which goes with the container


def test_volumes_are_removed_with_their_container(check, engine: Engine) -> None:
    def volumes() -> set[str]:
        return {volume["Name"] for volume in engine.client.api.volumes()["Volumes"] or []}

    before = volumes()
    check("write", "/data/file")
    assert volumes() <= before


def test_memory_is_limited(check) -> None:
    assert check("eat", "1500").problems == ("exit status 137, expected 0 (out of memory)",)
    assert check("eat", "100").problems == ()


def test_processes_are_limited(check) -> None:
    said = check("breed", "1000", stdout="^[0-9]+, then").ran.stdout
    assert int(said.split(",")[0]) < 256


def test_a_program_that_is_not_there(engine: Engine, tmp_path: Path, probe: bytes, label: str) -> None:
    image = image_of({"probe": probe, "unique": uuid.uuid4().hex.encode()}, tmp_path)
    imported = import_image(image, EngineBuilder(engine))
    (result,) = smoke_test(imported, [SmokeCheck(run=("/absent",))], engine, run_label=label).results
    assert result.problems[0].startswith("it could not be started: ")
    assert "/absent" in result.problems[0]
    assert left(engine, label) == []
    remove_unused(engine, imported)


@pytest.mark.parametrize("verb", ["sleep", "hide"])
def test_a_check_that_hangs_is_stopped(verb: str, check) -> None:
    started = time.monotonic()
    result = check(verb, "60", timeout=0.5)
    assert result.problems == ("it did not end within 0.5 s and was stopped",)
    assert result.ran.status is None
    assert time.monotonic() - started < 15


def test_gigabytes_of_output_take_no_memory(check, image_id: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = check("spam", "400", stdout="the end\n$", timeout=120)
    assert result.problems == ()
    assert len(result.ran.stdout) < 70_000
    assert len(result.ran.stderr) < 70_000
    assert "bytes left out" in result.ran.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


def test_all_checks_run_and_the_log_sees_them(engine: Engine, image_id: str, label: str) -> None:
    checks = [SmokeCheck(run=("exit", "1")), SmokeCheck(run=("say", "two")), SmokeCheck(run=("exit", "2"))]
    log: list[str] = []
    verdict = smoke_test(image_id, checks, engine, run_label=label, log=log.append)
    assert (verdict.passed, verdict.failed) == (1, 2)
    assert [line for line in log if line.startswith("$")] == ["$ exit 1", "$ say two", "$ exit 2"]
    assert "two" in log


def test_an_image_that_is_not_there(engine: Engine, label: str) -> None:
    with pytest.raises(EngineRefused, match="No such image"):
        smoke_test(f"sha256:{'0' * 64}", [SmokeCheck(run=("x",))], engine, run_label=label)
    assert left(engine, label) == []


@pytest.mark.parametrize("moment", ["create", "start", "wait"])
def test_an_interrupt_leaves_nothing(
    moment: str, engine: Engine, image_id: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    create, start = container._create, engine.client.api.start
    if moment == "create":
        monkeypatch.setattr(container, "_create", lambda *args: (interrupt(), time.sleep(0.5), create(*args)))
    elif moment == "start":
        monkeypatch.setattr(engine.client.api, "start", lambda name: (start(name), interrupt()))
    else:
        threading.Timer(2, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        smoke_test(image_id, [SmokeCheck(run=("sleep", "60"))], engine, run_label=label)
    time.sleep(1)
    assert left(engine, label) == []


KILLED = """
import sys
from flows.builders.engine import connect
from flows.smoke.run import smoke_test
from rootfs.recipe.sections import SmokeCheck
with connect() as engine:
    smoke_test(sys.argv[1], [SmokeCheck(run=("sleep", "600"))], engine, run_label=sys.argv[2])
"""


def test_what_a_killed_run_leaves_is_found_by_its_label(engine: Engine, image_id: str, label: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, image_id, label], cwd=Path(__file__).parents[3])
    until = time.monotonic() + 30
    while not engine.client.api.containers(filters={"label": f"baseforge.run={label}"}):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert len(left(engine, label)) == 1
    assert remove_containers(engine, "another run") == 0
    assert remove_containers(engine, label) == 1
    assert left(engine, label) == []
    assert remove_containers(engine, label) == 0


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the SDK's, where it cannot connect
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_stops_in_the_middle(
    number: signal.Signals, tmp_path: Path, probe: bytes, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SILENCE", 2)
    monkeypatch.setattr(container, "SILENCE", 2)
    monkeypatch.setattr(container, "GRACE", 1)
    with dockerd() as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.address)
        with connect() as reached:
            imported = import_image(image_of({"probe": probe}, tmp_path), EngineBuilder(reached))
            threading.Timer(1.5, daemon.send, (number,)).start()
            started = time.monotonic()
            checks = [SmokeCheck(run=("/probe", "sleep", "60"), timeout=5)]
            with pytest.raises(MachineError, match="running a smoke test"):
                smoke_test(imported, checks, reached, run_label=label)
            assert time.monotonic() - started < 20
