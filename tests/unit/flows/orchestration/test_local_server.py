"""The local Prefect server: its settings, its port and its process."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from flows.config.settings import LocalServer
from flows.orchestration import listener, local_server
from flows.orchestration.errors import PortTaken
from rootfs.system.errors import FormatNewer
from tests.support.waiting import until


@pytest.fixture
def taken():
    """A port where another program listens."""
    with socket.create_server((listener.HOST, 0)) as other:
        yield other.getsockname()[1]


def test_only_four_settings_of_prefect_are_changed(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    before = get_current_settings().model_dump()
    with local_server.settings_of("http://127.0.0.1:1/api"):
        now = get_current_settings().model_dump()
    assert now["api"].pop("url") == "http://127.0.0.1:1/api"
    assert now.pop("ui_url") == "http://127.0.0.1:1"  # which Prefect derives
    assert now["api"].pop("auth_string").get_secret_value() == "me:secret"
    assert now["flows"].pop("heartbeat_frequency") is None
    assert now["client"].pop("max_retries") < before["client"]["max_retries"]
    after = get_current_settings().model_dump()
    assert before == after
    assert before["flows"].pop("heartbeat_frequency")
    del before["client"]["max_retries"]
    del before["api"]["url"], before["api"]["auth_string"], before["ui_url"]
    assert now == before


def test_clients_of_the_local_server_load_one_certificate(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    code = "import ssl, sys; print(len(ssl.create_default_context(cafile=sys.argv[1]).get_ca_certs()))"
    for _ in range(2):
        command = [sys.executable, "-c", code, local_server._certificate()]
        assert subprocess.run(command, check=True, capture_output=True, timeout=60).stdout == b"1\n"


def test_a_port_that_is_taken_is_an_error_that_names_the_setting(taken, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0)
    with pytest.raises(PortTaken, match=f"port {taken} of this machine cannot be used") as caught:
        listener.opened(taken, Path("/"))
    assert (caught.value.status, caught.value.where) == (3, "the setting `server_port`")


def port(folder):
    with listener.opened(0, folder) as made:
        return made.getsockname()[1]


def test_a_folder_has_one_port_until_another_program_takes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0)
    first = port(tmp_path)
    assert port(tmp_path) == first
    with socket.create_server((listener.HOST, first)):
        assert port(tmp_path) != first
    assert port(tmp_path) == first


def test_nobody_else_can_bind_the_port_that_was_handed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with listener.opened(0, tmp_path) as made:
        place = made.getsockname()
        listener.hand_out(made)
        holding = listener.held(tmp_path)
        held = holding.__enter__()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(place)  # which sets SO_REUSEADDR
    listener.refuse(held)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(place)
    holding.__exit__(None, None, None)
    socket.create_server(place).close()


def test_a_program_of_another_user_on_our_port_is_not_taken_for_our_server(taken, monkeypatch):
    assert local_server.Server(1, taken)._is_of_this_user()
    monkeypatch.setattr(local_server.os, "geteuid", lambda: 4711)
    assert not local_server.Server(1, taken)._is_of_this_user()


def test_a_server_that_asks_for_no_login_is_replaced(tmp_path, monkeypatch):
    """As earlier versions left it running."""
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    with subprocess.Popen(["sleep", "60"]) as old:
        (tmp_path / "prefect").mkdir()
        (tmp_path / "prefect/server.json").write_text(f'{{"pid": {old.pid}, "port": 1}}')
        monkeypatch.setattr(local_server.Server, "answers", lambda _: True)
        monkeypatch.setattr(local_server, "_launch", lambda _: local_server.Server(1, 2, private=True))
        assert local_server.running() is None
        assert local_server.start(LocalServer(0, 1)) == local_server.Server(1, 2, private=True)
        assert old.wait(10) == -15


def test_the_note_of_the_server_says_its_format_and_a_newer_one_is_refused(tmp_path, monkeypatch):
    """Without it a second server might be started, on the same database."""
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    ours = local_server._write_state(local_server.Server(1, 2, private=True))
    note = tmp_path / "prefect/server.json"
    assert json.loads(note.read_text())["format"] == 1
    assert local_server._read_state() == ours
    note.write_text(json.dumps({"format": 2, "servers": []}))
    for use in (local_server.running, local_server.stop, lambda: local_server.start(LocalServer(0, 1))):
        with pytest.raises(FormatNewer, match=f"{note}: the note of the local server .* format 2"):
            use()


def test_another_process_with_the_same_id_is_not_the_server(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as process:
        born = local_server._start_time(process.pid)
        assert local_server.Server(process.pid, 1, private=True, born=born).lives()
        assert not local_server.Server(process.pid, 1, private=True, born=born - 1).lives()
        process.kill()
        until(
            lambda: not local_server.Server(process.pid, 1, private=True, born=born).lives()
        )  # nobody has waited for it yet
