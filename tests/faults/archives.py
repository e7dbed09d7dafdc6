"""Archives with errors, and the settings that make a command use them; good archives are in `tests.support.debian`."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rootfs.apt.sources import Site, Source, suite_sources

SUITE = "trixie"


@dataclass(frozen=True)
class Silent:
    """A server that takes calls and never says a word."""

    address: str
    called: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def silent() -> Iterator[Silent]:
    """A silent server on a free loopback port; `called` is set when somebody has connected."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Silent(f"127.0.0.1:{listener.getsockname()[1]}")
        kept: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):  # the listener has been shut down
                while True:
                    kept.append(listener.accept()[0])
                    server.called.set()

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def mirrored(address: str) -> dict[str, str]:
    """The environment in which this address stands for the suite's own archive."""
    return {"BASEFORGE_MIRRORS": json.dumps({own().address: address})}


def own() -> Source:
    """The suite at the distribution's own archive."""
    [source] = suite_sources(SUITE, (), ("main",), "amd64", Site())
    return source


@contextlib.contextmanager
def empty() -> Iterator[str]:
    """The address of an archive that has nothing at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

    with _serving(Handler) as address:
        yield address


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what these tests are about."""

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
