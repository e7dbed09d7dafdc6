"""The local Prefect server: started once, in the background, and used by every later run.

An ephemeral server would cost each command 6 s; this one answers in milliseconds. A server named by `PREFECT_API_URL`
is used instead. Prefect reads its settings when it is imported, so `connect` comes before that.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from flows import interrupt
from flows.folders import make_data_folder
from flows.folders import server_folder as folder
from flows.spare import alike, keep
from rootfs import kept, locks
from rootfs.errors import ServerFailed
from rootfs.run import detached

if TYPE_CHECKING:
    from prefect.context import SettingsContext

HOST = "127.0.0.1"
START = 90.0  # seconds a server may take for its first start, which makes its database

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
}
# Each flow's own client would load the certificates of all authorities, which takes 50 ms, and ask for a token that
# only a browser needs: the local server speaks plain HTTP, to this machine alone.
CERTIFICATE = "certificate.pem"
# The server writes down each state of each task by itself; SQLite refuses whoever begins to write meanwhile, and a flow
# that is refused tries again only after 2 s.
CALM = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
}


@dataclass(frozen=True)
class Server:
    """A running local server: its process and port."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """The base address of its API."""
        return f"http://{HOST}:{self.port}/api"

    def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.closing(HTTPConnection(HOST, self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/api/health")
                return connection.getresponse().status == HTTPStatus.OK
            except (OSError, HTTPException):
                return False


def connect(quiet: bool = True) -> str:
    """Make Prefect use the server named by `PREFECT_API_URL`, else the local one, started if need be.

    With `quiet` Prefect keeps its own log lines from the terminal. Returns the server's address. Raises ServerFailed
    with the end of its log.
    """
    os.environ.update(QUIET | ({"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"} if quiet else {}))
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    os.environ["PREFECT_HOME"] = str(folder())
    make_data_folder()
    server = running() or start()
    os.environ |= {
        "PREFECT_API_URL": server.address,
        "PREFECT_API_SSL_CERT_FILE": str(_certificate()),
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    }
    return server.address


def _certificate() -> Path:
    """A file with just one certificate, which nothing is checked by: without any Prefect's clients do not start."""
    if not (path := folder() / CERTIFICATE).exists():
        first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
        kept.write(path, (first + end).encode())
    return path


def running() -> Server | None:
    """The local server, if one answers."""
    try:
        server = Server(**json.loads((folder() / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if server.answers() else None


def start() -> Server:
    """Start the local server on a free port and wait until it answers; whoever comes second uses the first one's."""
    folder().mkdir(parents=True, exist_ok=True)
    with locks.locked(folder() / "lock", wait=2 * START):
        if server := running():
            return server
        server = _launch()
        (folder() / "server.json").write_text(json.dumps({"pid": server.pid, "port": server.port}))
        return server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _launch() -> Server:
    """A server in a session of its own, so that it outlives us: the one program that is meant to."""
    port, log = _free_port(), folder() / "server.log"
    environment = {**CALM, **os.environ, **QUIET, "PREFECT_HOME": str(folder())}
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    log.unlink(missing_ok=True)
    process = detached(argv, environment, log)
    server, deadline = Server(process.pid, port), time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        if server.answers():
            process.returncode = 0  # it is not ours to wait for: no warning when the object goes
            return server
        time.sleep(0.1)
    raise ServerFailed(log.read_text()[-2000:])


def stop() -> bool:
    """Stop the local server, and the spare process beside it; whether there was a server."""
    keep.end()
    server = running()
    if server is None:
        return False
    os.kill(server.pid, 15)
    (folder() / "server.json").unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def connected(quiet: bool = True) -> Iterator[str]:
    """Flows run inside this block: a server answers, and no flow waits for a heartbeat thread to end its nap of 1 s.

    After a command at a local server there is a spare process for the next one.
    """
    born, chosen = alike.born(), "PREFECT_API_URL" in os.environ
    address = connect(quiet)
    try:
        with _settings(address):
            yield address
    finally:
        if quiet and not chosen and alike.plain_folder() and not interrupt.came():
            keep.provide(born)


def _settings(address: str) -> SettingsContext:
    """Prefect's settings without a heartbeat, at this server: a spare process may have read them before it was started.

    Prefect's `temporary_settings` would read and check all of them again.
    """
    from prefect.context import SettingsContext, get_settings_context

    now = get_settings_context()
    flows = now.settings.flows.model_copy(update={"heartbeat_frequency": None})
    api = now.settings.api.model_copy(update={"url": address})
    return SettingsContext(profile=now.profile, settings=now.settings.model_copy(update={"flows": flows, "api": api}))
