"""The local Prefect server: started once, in the background, and used by every later run.

An ephemeral server would cost each command 6 s; this one answers in milliseconds. It answers only who has its login
(flows/login.py), as whoever may change a deployment runs programs as its user. A server named by `PREFECT_API_URL` is
used instead. Prefect reads its settings when it is imported, so `connect` comes before that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from flows import interrupt, login
from flows.folders import make_data_folder
from flows.folders import server_folder as folder
from flows.spare import alike, keep
from rootfs import kept, locks, private
from rootfs.disk import is_full
from rootfs.errors import DiskFull, PortTaken, ServerElsewhere, ServerFailed
from rootfs.run import detached

if TYPE_CHECKING:
    from prefect.context import SettingsContext

HOST = "127.0.0.1"
START = 90.0  # seconds a server may take for its first start, which makes its database
END = 15.0  # seconds a server may take to end
STATE, LOG, PAGES = "server.json", "server.log", "pages"
FIRST_PORT, PORTS = 20000, 10000  # below those that a kernel gives to outgoing connections
SOCKETS = Path("/proc/net/tcp")  # proc_net(5)
LISTENING = "0A"
ERROR = re.compile(r"\| (ERROR|CRITICAL) +\|")
CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"

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
    """A running local server: its process and port, and whether it asks for the login, as all but older ones do."""

    pid: int
    port: int
    private: bool = False

    @property
    def pages(self) -> str:
        """The address of its pages."""
        return f"http://{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """The base address of its API."""
        return f"{self.pages}/api"

    def answers(self) -> bool:
        """Whether it is up."""
        if not self._is_of_this_user():
            return False
        with contextlib.closing(HTTPConnection(HOST, self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/api/health")
                return connection.getresponse().status == HTTPStatus.OK
            except (OSError, HTTPException):
                return False

    def _is_of_this_user(self) -> bool:
        """Whether we are who listens there: another user's program on a port that was ours would be sent the login."""
        place = f"{int.from_bytes(socket.inet_aton(HOST), sys.byteorder):08X}:{self.port:04X}"
        lines = (line.split() for line in SOCKETS.read_text().splitlines())
        return any(words[1::2][:2] == [place, LISTENING] and int(words[7]) == os.geteuid() for words in lines)

    def environment(self) -> dict[str, str]:
        """What a client of it needs in its environment. Raises NotPrivate."""
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        return {
            "PREFECT_HOME": str(folder()),
            "PREFECT_API_URL": self.address,
            "PREFECT_API_AUTH_STRING": login.read(folder()),
            "PREFECT_API_SSL_CERT_FILE": str(_certificate()),
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
            "no_proxy": ",".join(filter(None, (no_proxy, HOST))),  # a proxy would be sent the login
        }


def connect(port: int = 0, quiet: bool = True) -> str:
    """Make Prefect use the server named by `PREFECT_API_URL`, else the local one, started if need be.

    With `quiet` Prefect keeps its own log lines from the terminal. Returns the server's address. Raises ServerFailed
    with the end of its log, PortTaken, NotPrivate.
    """
    os.environ.update(QUIET | ({CONSOLE_LEVEL: "CRITICAL"} if quiet else {}))
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    make_data_folder()
    private.make(folder())
    server = running() or start(port)
    os.environ |= server.environment()
    return server.address


def require_port(port: int) -> None:
    """Raises ServerElsewhere when the local server runs on another port than the one that the user has set."""
    if port and "PREFECT_API_URL" not in os.environ and (server := running()) and server.port != port:
        raise ServerElsewhere(server.port, port)


def _certificate() -> Path:
    """A file with just one certificate, which nothing is checked by: without any Prefect's clients do not start."""
    if not (path := folder() / CERTIFICATE).exists():
        first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
        kept.write(path, (first + end).encode())
    return path


def running() -> Server | None:
    """The local server, if one answers."""
    return server if (server := _known()) and server.private else None


def _known() -> Server | None:
    """The server that was started last, if it answers: perhaps one of an earlier version, which answers everybody."""
    try:
        server = Server(**json.loads((folder() / STATE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if server.answers() else None


def start(port: int = 0) -> Server:
    """Start the local server and wait until it answers; whoever comes second uses the first one's.

    Its port is the given one, else one that is the same at each start unless another program has taken it.
    """
    private.make(folder())
    with locks.locked(folder() / "lock", wait=2 * START):
        if old := _known():
            if old.private:
                return old
            _end(old)
        server = _launch(port)
        (folder() / STATE).write_text(json.dumps(asdict(server)))
        return server


def _port(wanted: int) -> int:
    """The port to listen on: the wanted one, else the first free one in an order that depends on our folder alone.

    Raises PortTaken.
    """
    if wanted:
        if why := _refused(wanted):
            raise PortTaken(wanted, why)
        return wanted
    first = int.from_bytes(hashlib.sha256(str(folder()).encode()).digest()[:8])
    return next(port for step in range(PORTS) if not _refused(port := FIRST_PORT + (first + step) % PORTS))


def _refused(port: int) -> str:
    """Why nobody can listen there now; empty when somebody can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _environment(port: int) -> dict[str, str]:
    """Of the server: its pages talk to where they came from, no others may, and nobody does without the login."""
    ours = {
        "PREFECT_HOME": str(folder()),
        "PREFECT_SERVER_API_AUTH_STRING": login.read(folder()),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder() / PAGES),
        CONSOLE_LEVEL: "WARNING",
    }
    return {**CALM, **os.environ, **QUIET, **ours}


def _launch(wanted: int) -> Server:
    """A server in a session of its own, so that it outlives us: the one program that is meant to."""
    port, log = _port(wanted), log_file()
    argv = [sys.executable, "-P", "-m", "flows.api_server", str(port)]
    log.unlink(missing_ok=True)
    environment = _environment(port)
    process = detached(argv, environment, log)
    server, deadline = Server(process.pid, port, private=True), time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        if server.answers():
            process.returncode = 0  # it is not ours to wait for: no warning when the object goes
            return server
        time.sleep(0.1)
    if is_full(folder()):
        raise DiskFull(folder())
    raise ServerFailed("\n".join(log_end()))


def log_file() -> Path:
    """Where the local server's log is: from its last start, warnings and errors."""
    return folder() / LOG


def log_end(lines: int = 20) -> list[str]:
    """The last lines of the log."""
    return _log()[-lines:]


def log_errors() -> int:
    """How many errors the log has."""
    return sum(1 for line in _log() if ERROR.search(line))


def _log() -> list[str]:
    try:
        return log_file().read_text(errors="replace").splitlines()
    except OSError:
        return []


def stop() -> bool:
    """Stop the local server, and the spare process beside it; whether there was a server."""
    keep.end()
    server = _known()
    if server is None:
        return False
    _end(server)
    (folder() / STATE).unlink(missing_ok=True)
    return True


def _end(server: Server) -> None:
    """End it and wait until it has gone, so that the next one finds its port free and its database at rest."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(server.pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], END)[0]:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], END)
        finally:
            os.close(process)


@contextlib.contextmanager
def connected(port: int = 0, quiet: bool = True) -> Iterator[str]:
    """Flows run inside this block: a server answers, and no flow waits for a heartbeat thread to end its nap of 1 s.

    After a command at a local server there is a spare process for the next one.
    """
    born, chosen = alike.born(), "PREFECT_API_URL" in os.environ
    address = connect(port, quiet)
    try:
        with settings_of(address):
            yield address
    finally:
        if quiet and not chosen and alike.plain_folder() and not interrupt.came():
            keep.provide(born)


def settings_of(address: str) -> SettingsContext:
    """Prefect's settings without a heartbeat, at this server: a spare process may have read them before it was started.

    Prefect's `temporary_settings` would read and check all of them again.
    """
    from prefect.context import SettingsContext, get_settings_context
    from pydantic import SecretStr

    now = get_settings_context()
    known: dict[str, object] = {"url": address}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        known["auth_string"] = SecretStr(secret)
    flows = now.settings.flows.model_copy(update={"heartbeat_frequency": None})
    api = now.settings.api.model_copy(update=known)
    return SettingsContext(profile=now.profile, settings=now.settings.model_copy(update={"flows": flows, "api": api}))
