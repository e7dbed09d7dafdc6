"""A real Prefect server that several machines share, as a context manager."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.services.postgresql import PostgreSQL
from tests.support.services.registry import free_port

SLOWEST_START = 120.0  # seconds; the first start makes the tables


@dataclass
class PrefectServer:
    """A shared Prefect server, with a login."""

    port: int
    login: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def client(self) -> dict[str, str]:
        """The environment of those who use it."""
        return {"PREFECT_API_URL": self.address, "PREFECT_API_AUTH_STRING": self.login}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                start_new_session=True,
            )
        until = time.monotonic() + SLOWEST_START
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}/health", timeout=5).is_success:
                    return
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """End it at once, with all its processes."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, path: str, body: object = None) -> list[dict[str, object]]:
        """What it answers to a question such as `flow_runs/filter`."""
        user, _, password = self.login.partition(":")
        auth = httpx.BasicAuth(user, password)
        answer = httpx.post(f"{self.address}/{path}", json=body or {}, auth=auth, timeout=30)
        answer.raise_for_status()
        found: list[dict[str, object]] = answer.json()
        return found


@contextlib.contextmanager
def serve_prefect(folder: Path, database: PostgreSQL) -> Iterator[PrefectServer]:
    """A Prefect server on this database, as deploy/README.md says to run it."""
    login = f"baseforge:{secrets.token_hex(8)}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    server = PrefectServer(free_port(), login, environment, folder / "prefect.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()
