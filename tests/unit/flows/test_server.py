"""What Prefect is told where its server is the local one."""

import subprocess
import sys

from prefect.settings import get_current_settings

from flows import server


def test_only_the_heartbeat_is_another():
    before = get_current_settings().model_dump()
    with server._without_heartbeat():
        now = get_current_settings().model_dump()
    assert now["flows"].pop("heartbeat_frequency") is None
    assert before["flows"].pop("heartbeat_frequency")
    assert now == before == {**get_current_settings().model_dump(), "flows": now["flows"]}


def test_clients_of_the_local_server_load_one_certificate(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    code = "import ssl, sys; print(len(ssl.create_default_context(cafile=sys.argv[1]).get_ca_certs()))"
    for _ in range(2):
        command = [sys.executable, "-c", code, server._certificate()]
        assert subprocess.run(command, check=True, capture_output=True, timeout=60).stdout == b"1\n"
