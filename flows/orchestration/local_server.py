"""The local Prefect server: started once, in the background, and used by every later run.

An ephemeral server would cost each command 6 s; this one answers in milliseconds. It answers only who has its login
(see `login`), as whoever may change a deployment runs programs as its user. A server named by `PREFECT_API_URL` is
used instead. Prefect reads its settings when it is imported, so `connect` comes before that.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import certifi

from flows.config.paths import fix_data_folder, make_data_folder, working_in
from flows.config.paths import server_folder as folder
from flows.orchestration import database, listener, login, lost_server
from flows.orchestration.errors import on_another_port, server_failed, server_hangs
from flows.orchestration.listener import HOST
from rootfs.process.run import start_detached
from rootfs.system import atomic_file, document_format, locks, private
from rootfs.system.disk import is_full
from rootfs.system.errors import DiskFull

if TYPE_CHECKING:
    from prefect.context import SettingsContext

    from flows.config.settings import LocalServer

NOTICE = (
    "baseforge: the Prefect server at {address} stopped answering ({reason}). The work went on without it: "
    "what is published counts, but the server's pages do not show how the run ended.\n"
)
TRIES = 2  # of a request that fails, after the first: Prefect's 5 take a minute
START = 90.0  # seconds a server may take for its first start, which makes its database
ANSWER = 10.0  # seconds in which a running server has to answer
TAIL = 1 << 20  # bytes of the log that are read
END = 15.0  # seconds a server may take to end
STATE, LOG, PAGES = "server.json", "server.log", "pages"
SOCKETS = Path("/proc/net/tcp")  # proc_net(5)
LISTENING = "0A"
ERROR = re.compile(r"\| (ERROR|CRITICAL) +\|")
CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
# Hide Prefect's own messages: that its threads cannot send any more need not concern the user.
SILENT = {CONSOLE_LEVEL: "CRITICAL", "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL"}

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # for tasks of images that have flows of their own
    "DO_NOT_TRACK": "1",
}
# Each flow's own client would load the certificates of all authorities, which takes 50 ms, and ask for a token that
# only a browser needs: the local server speaks plain HTTP, to this machine alone.
CERTIFICATE = "certificate.pem"
# The server writes each state of each task on its own. Meanwhile SQLite refuses other writers, and a refused flow tries
# again only after 2 s.
CALM = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    # After a restart the server still knows who holds a concurrency limit.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


@dataclass(frozen=True)
class Server:
    """A local server: its process and port, and whether it asks for the login; old ones do not.

    `born` is when the process began, in the kernel's ticks: another one may have the same number later. It is `ready`
    once it has answered.
    """

    pid: int
    port: int
    private: bool = False
    born: int = 0
    ready: bool = False

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
        """Whether this user listens there: else another user's program on that port would be sent the login."""
        place = f"{int.from_bytes(socket.inet_aton(HOST), sys.byteorder):08X}:{self.port:04X}"
        lines = (line.split() for line in SOCKETS.read_text().splitlines())
        return any(words[1::2][:2] == [place, LISTENING] and int(words[7]) == os.geteuid() for words in lines)

    def lives(self) -> bool:
        """Whether its process is there, even if it does not answer."""
        return self.born > 0 and _start_time(self.pid) == self.born

    def environment(self) -> dict[str, str]:
        """What a client of it needs in its environment. Raises MachineError."""
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        return {
            "PREFECT_HOME": str(folder()),
            "PREFECT_API_URL": self.address,
            "PREFECT_API_AUTH_STRING": login.read(folder()),
            "PREFECT_API_SSL_CERT_FILE": str(_certificate()),
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
            "no_proxy": ",".join(filter(None, (no_proxy, HOST))),  # a proxy would be sent the login
        }


def connect(settings: LocalServer, quiet: bool = True) -> str:
    """Make Prefect use the server named by `PREFECT_API_URL`, else the local one, started if necessary.

    With `quiet` Prefect keeps its own log lines from the terminal. Returns the server's address. Raises PortTaken,
    and MachineError with the end of its log.
    """
    os.environ.update(QUIET | (SILENT if quiet else {}))
    logging.raiseExceptions = not quiet
    fix_data_folder()
    make_data_folder()
    private.make_private_folder(folder())
    if address := os.environ.get("PREFECT_API_URL"):
        os.environ.setdefault("PREFECT_API_SSL_CERT_FILE", str(settings.authorities.file()))
        return address
    server = running() or start(settings)
    os.environ |= server.environment()
    return server.address


def import_prefect() -> None:
    """Import Prefect while our private folder is the working folder.

    When it is imported, Prefect takes settings from `.env`, `prefect.toml` and `pyproject.toml` of the working folder;
    some of them name programs that it runs. The user's folder may have such files of somebody else.
    """
    fix_data_folder()
    make_data_folder()
    private.make_private_folder(folder())
    with working_in(folder()):
        importlib.import_module("prefect.context")


def require_port(port: int) -> None:
    """Raises MachineError when the local server runs on another port than the one that the user has set."""
    if port and "PREFECT_API_URL" not in os.environ and (server := running()) and server.port != port:
        raise on_another_port(server.port, port)


def _certificate() -> Path:
    """A file with one certificate that checks nothing: Prefect's clients do not start without any."""
    if not (path := folder() / CERTIFICATE).exists():
        first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
        atomic_file.write_file(path, (first + end).encode())
    return path


def running() -> Server | None:
    """The local server, if there is one. Raises MachineError."""
    return server if (server := _find_server()) and server.private else None


def _find_server() -> Server | None:
    """The server that was started last, if it is there: perhaps one of an earlier version, which answers everybody.

    One that lives is never doubled, as both would write to one database. Raises MachineError when it does not answer.
    """
    if not (server := _read_state()):
        return None
    began = time.monotonic()
    wait = ANSWER if server.ready else START
    while not server.answers():
        if not server.lives():
            return None
        if time.monotonic() - began > wait:
            raise server_hangs(server.pid, server.address, log_file(), wait)
        time.sleep(0.1)
    return server


def _read_state() -> Server | None:
    """The server that was started last, whether or not it is still there. Raises FormatNewer."""
    note = folder() / STATE
    try:
        return Server(**document_format.parse(note.read_bytes(), "the note of the local server", note))
    except (OSError, ValueError, TypeError):
        return None


def _write_state(server: Server) -> Server:
    """Write down the server, so that later commands find it."""
    atomic_file.write_file(folder() / STATE, document_format.dump(asdict(server)))
    return server


def _start_time(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0 where there is none, or only what is left of one."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # proc_pid_stat(5)
    except OSError:
        return 0
    return 0 if state in "ZX" else int(others[18])


def start(settings: LocalServer) -> Server:
    """Start the local server and wait until it answers; a second caller gets the first one's server.

    Its port is the given one, else one that is the same at each start unless another program has taken it.
    """
    private.make_private_folder(folder())
    with locks.locked(folder() / "lock", wait=2 * START):
        if old := _find_server():
            if old.private:
                return old
            _end(old)
        database.enable_shrinking(folder())
        return _launch(settings)


def _environment(port: int, days: int) -> dict[str, str]:
    """Variables of the server: only its own pages may talk to it, and only with the login."""
    ours = {
        "PREFECT_HOME": str(folder()),
        "PREFECT_SERVER_API_AUTH_STRING": login.renewed(folder()),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder() / PAGES),
        CONSOLE_LEVEL: "WARNING",
    }
    return {**CALM, **database.retention(days), **os.environ, **QUIET, **ours}


def _launch(settings: LocalServer) -> Server:
    """Start a server in a session of its own: it is the one program that outlives this process."""
    log = log_file()
    log.unlink(missing_ok=True)
    with listener.opened(settings.port, folder()) as ours:
        port = int(ours.getsockname()[1])
        argv = [sys.executable, "-P", "-m", "flows.orchestration.api_server", str(ours.fileno())]
        process = start_detached(argv, _environment(port, settings.days), log, cwd=folder(), files=[ours.fileno()])
    server, deadline = Server(process.pid, port, private=True, born=_start_time(process.pid)), time.monotonic() + START
    _write_state(server)  # if this is interrupted, the next command finds the server
    while time.monotonic() < deadline and process.poll() is None:
        if server.answers():
            process.returncode = 0  # nobody waits for it: this avoids a warning when the object is deleted
            return _write_state(replace(server, ready=True))
        time.sleep(0.1)
    _end(server)
    process.wait()
    (folder() / STATE).unlink(missing_ok=True)
    if is_full(folder()):
        raise DiskFull(folder())
    raise server_failed("\n".join(log_end()))


class Watched(NamedTuple):
    """A server's process, as a handle that can be read once it has ended, and its listening socket, if it gave that."""

    process: int
    listener: socket.socket | None


@contextlib.contextmanager
def watched(server: Server) -> Iterator[Watched]:
    """Keep the server's port while the block lasts, so that nobody else can listen there when the server has ended.

    Raises MachineError when it has already.
    """
    with contextlib.ExitStack() as undo:
        ours = undo.enter_context(listener.held(folder()))
        try:
            handle = os.pidfd_open(server.pid)
        except ProcessLookupError:
            raise server_failed("\n".join(log_end())) from None
        undo.callback(os.close, handle)
        if not server.lives():  # another process has its number
            raise server_failed("\n".join(log_end()))
        yield Watched(handle, ours)


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
        with log_file().open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - TAIL, 0))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def stop() -> bool:
    """End the local server, also one that hangs; whether there was one."""
    server = _read_state()
    if server is None or not (server.lives() or server.answers()):
        return False
    _end(server)
    (folder() / STATE).unlink(missing_ok=True)
    return True


def _end(server: Server) -> None:
    """End it and wait until it has gone, so that the next one finds its port free and its database at rest."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(server.pid)
        try:
            if server.born and not server.lives():
                return
            signal.pidfd_send_signal(process, signal.SIGTERM)
            signal.pidfd_send_signal(process, signal.SIGCONT)  # one that was stopped ends as well
            if not select.select([process], [], [], END)[0]:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], END)
        finally:
            os.close(process)


@contextlib.contextmanager
def connected(settings: LocalServer, quiet: bool = True) -> Iterator[str]:
    """Connect to a server for the block. Flows run without a heartbeat thread, which would cost each of them 1 s."""
    chosen = "PREFECT_API_URL" in os.environ
    address = connect(settings, quiet)
    import_prefect()
    from flows.orchestration import outage

    try:
        with settings_of(address):
            if chosen:
                outage.require_server(address)
            yield address
    finally:
        if lost_server.reason():
            sys.stderr.write(NOTICE.format(address=address, reason=lost_server.reason()))


@contextlib.contextmanager
def connected_on_demand(settings: LocalServer) -> Iterator[Callable[[], str]]:
    """A function that connects as `connected` does, when it is first called, until the block ends."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(connected(settings)))


def settings_of(address: str) -> SettingsContext:
    """Prefect's settings without a heartbeat, at this server. `temporary_settings` would check all of them again."""
    from prefect.context import SettingsContext, get_settings_context
    from pydantic import SecretStr

    now = get_settings_context()
    api_settings: dict[str, object] = {"url": address}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        api_settings["auth_string"] = SecretStr(secret)
    flows = now.settings.flows.model_copy(update={"heartbeat_frequency": None})
    api = now.settings.api.model_copy(update=api_settings)
    client = now.settings.client.model_copy(update={"max_retries": TRIES})
    update = {"flows": flows, "api": api, "client": client}
    return SettingsContext(profile=now.profile, settings=now.settings.model_copy(update=update))
