"""Selection of the engine, and errors if it does not answer."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import socket
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from flows.builders import engine as module
from flows.builders.engine import connect
from flows.builders.errors import EngineRefused
from rootfs.errors import InputError, MachineError
from tests.unit.flows.builders.fake import engine, failing

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture(autouse=True)
def _leaks_of_the_sdk() -> Iterator[None]:
    """The SDK does not close a unix socket that cannot be connected: let it go here, not in somebody else's test."""
    gc.freeze()  # what was there before need not be looked at
    yield
    gc.collect()
    gc.unfreeze()


def add_context(tmp_path: Path, name: str, host: str) -> None:
    """A docker context as `docker context create` writes it."""
    folder = tmp_path / "docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    select(tmp_path, "default")


def select(tmp_path: Path, name: str) -> None:
    (tmp_path / "docker/config.json").write_text(json.dumps({"currentContext": name}))


def test_docker_host_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(tmp_path, {}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        monkeypatch.setenv("DOCKER_CONTEXT", "is-not-asked")
        with connect() as reached:
            assert (reached.version, reached.containerd) == ("20.10.24", False)
            assert reached.endpoint.endswith("engine.sock")


def test_the_selected_context_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(tmp_path, {}) as address:
        add_context(tmp_path, "mine", address)
        add_context(tmp_path, "other", f"unix://{tmp_path}/nobody.sock")
        select(tmp_path, "mine")
        with connect() as reached:
            assert reached.endpoint == address
        monkeypatch.setenv("DOCKER_CONTEXT", "other")
        with pytest.raises(MachineError, match=r"nobody\.sock"):
            connect()
        select(tmp_path, "other")
        monkeypatch.setenv("DOCKER_CONTEXT", "mine")
        with connect() as reached:
            assert reached.endpoint == address


def test_containerds_store_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = [["driver-type", "io.containerd.snapshotter.v1"]]
    with engine(tmp_path, {"/info": {"DriverStatus": status}}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with connect() as reached:
            assert reached.containerd


def test_a_missing_context_is_not_replaced_by_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(InputError, match="'gone'") as caught:
        connect()
    assert caught.value.status == 2
    assert "docker context ls" in caught.value.hint


def test_a_broken_context_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_context(tmp_path, "broken", "unix:///x")
    (meta,) = (tmp_path / "docker/contexts").rglob("meta.json")
    meta.write_text("{")
    monkeypatch.setenv("DOCKER_CONTEXT", "broken")
    with pytest.raises(InputError, match="'broken'"):
        connect()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("unix:///nowhere/docker.sock", "No such file or directory"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("ssh://nobody@127.0.0.1:1", "paramiko"),
        ("gopher://x", "gopher"),
        ("tcp://127.0.0.1:nonsense", "nonsense"),
    ],
)
def test_an_engine_that_does_not_run_is_reported(host: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MachineError, match=said) as caught:
        connect()
    assert caught.value.status == 3
    assert "baseforge doctor" in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("host", ["tcp://ann:sec'ret@127.0.0.1:1", "tcp://ann:sec ret@[::", "ftp://ann:secret@h"])
def test_a_password_in_its_address_is_in_no_traceback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MachineError, match="the container engine does not answer:") as caught:
        connect()
    assert "ret@" not in "".join(traceback.format_exception(caught.value))


def test_an_engine_that_denies_access_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("docker.transport.unixconn.UnixHTTPConnection.connect", refuse)
    with pytest.raises(MachineError, match="sudo") as caught:
        connect()
    assert caught.value.status == 3


def test_missing_certificates_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(MachineError, match="certificate"):
        connect()


def test_an_engine_that_never_answers_is_reported_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACH", 0.2)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/deaf.sock")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        started = time.monotonic()
        with pytest.raises(MachineError, match="timed out"):
            connect()
        assert time.monotonic() - started < 5


def test_a_server_that_is_no_engine_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ({"hello": "world"}, failing(500, "I am a teapot")):
        with engine(tmp_path, {"/version": answer}) as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            with pytest.raises(MachineError, match="the container engine does not answer:"):
                connect()
        (tmp_path / "engine.sock").unlink()


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True


def test_a_missing_image_is_none_and_a_refusal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"/images/sick/json": failing(500, "the disk is on fire"), "/images/lost/json": hang_up}
    with engine(tmp_path, answers) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with connect() as reached:
            assert reached.inspect("absent") is None
            with pytest.raises(EngineRefused, match="the disk is on fire") as refused:
                reached.inspect("sick")
            assert refused.value.status == 1
            with pytest.raises(MachineError, match="looking for lost") as lost:
                reached.inspect("lost")
            assert lost.value.status == 3
