"""What Prefect is told where its server is the local one."""

import subprocess
import sys

from prefect.settings import get_current_settings

from flows import server


def test_only_the_heartbeat_and_the_address_are_others():
    before = get_current_settings().model_dump()
    with server._settings("http://127.0.0.1:1/api"):
        now = get_current_settings().model_dump()
    assert now["api"].pop("url") == "http://127.0.0.1:1/api"
    assert now.pop("ui_url") == "http://127.0.0.1:1"  # which Prefect derives
    assert now["flows"].pop("heartbeat_frequency") is None
    after = get_current_settings().model_dump()
    assert before == after
    assert before["flows"].pop("heartbeat_frequency")
    del before["api"]["url"], before["ui_url"]
    assert now == before


def test_clients_of_the_local_server_load_one_certificate(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    code = "import ssl, sys; print(len(ssl.create_default_context(cafile=sys.argv[1]).get_ca_certs()))"
    for _ in range(2):
        command = [sys.executable, "-c", code, server._certificate()]
        assert subprocess.run(command, check=True, capture_output=True, timeout=60).stdout == b"1\n"
