"""`/metrics` on loopback, while `baseforge serve` runs: read-only, and behind a login if the settings name one."""

from __future__ import annotations

import base64
import contextlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from flows.config.settings import Settings
from flows.night.figures import read_figures
from flows.night.metrics import CONTENT_TYPE, render
from flows.store.store import Store
from rootfs.apt.credentials import read_private_file
from rootfs.errors import BaseforgeError, InputError, MachineError
from rootfs.recipe.recipe import image_names

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")  # other names of a request are of a web page that was led here (DNS rebinding)
KEPT = 10.0  # seconds that an answer is used again
POLL = 0.1  # seconds in which the end of the block is noticed
TIMEOUT = 10.0  # seconds that a client may take for its request


@contextlib.contextmanager
def serving_metrics(settings: Settings, store: Store) -> Iterator[str]:
    """Answer `/metrics` while the block runs, in threads. Yields the address; without `metrics_port`, nothing.

    Raises InputError for a login that is unusable, and MachineError if the port is taken.
    """
    if not settings.metrics_port:
        yield ""
        return
    folders = [folder.absolute() for folder in settings.recipes]  # `serve` changes its working folder
    text = _Cached(lambda: render(read_figures(store, image_names(*folders)), ages=True))
    handler = type("Handler", (_Handler,), {"text": text, "login": read_login(settings.metrics_login)})
    try:
        server = ThreadingHTTPServer((ADDRESS, settings.metrics_port), handler)
    except OSError as error:
        raise MachineError(
            f"figures cannot be shown on port {settings.metrics_port}: {error.strerror}",
            where="metrics_port",
            hint="Name another port, or 0 for none.",
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{settings.metrics_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read_login(file: Path | None) -> str:
    """The `NAME:PASSWORD` that `/metrics` asks for; empty if it asks for none. Raises InputError."""
    if file is None:
        return ""
    login = read_private_file(file, _unusable).strip()
    if not login.partition(":")[2] or "\n" in login:
        raise _unusable(file, "it is not one line NAME:PASSWORD")
    return login


def _unusable(path: object, why: str, hint: str = "") -> InputError:
    return InputError(
        f"`metrics_login`, the file with the name and password of /metrics, cannot be used: {why}",
        where=str(path),
        hint=hint or "Correct its path or its text.",
    )


class _Cached:
    """A text that is made anew when it is asked for and older than KEPT; by one thread at a time."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make, self._lock, self._text, self._at = make, threading.Lock(), "", float("-inf")

    def read(self) -> str:
        with self._lock:
            if time.monotonic() - self._at > KEPT:
                self._text, self._at = self._make(), time.monotonic()
            return self._text


class _Handler(BaseHTTPRequestHandler):
    """Answers `GET /metrics`."""

    text: _Cached
    login: str
    timeout = TIMEOUT  # of the socket
    server_version, sys_version = "Baseforge", ""

    def do_GET(self) -> None:
        """The figures."""
        if self.headers.get("Host", "").rpartition(":")[0] not in HOSTS:
            self._answer(421, "this is not the host of these figures\n")
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, "there is only /metrics\n")
        elif not self._allowed():
            self._answer(401, "name and password are needed\n", {"WWW-Authenticate": 'Basic realm="baseforge"'})
        else:
            try:
                self._answer(200, self.text.read(), {"Content-Type": CONTENT_TYPE})
            except BaseforgeError as problem:
                self._answer(503, f"{problem.message}\n")

    def log_message(self, *_: object) -> None:
        """Nothing is logged: a scrape comes every few seconds."""

    def _allowed(self) -> bool:
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        sent = self.headers.get("Authorization", "")
        return not self.login or hmac.compare_digest(sent.encode(), expected.encode())

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
