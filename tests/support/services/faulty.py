"""A real HTTP proxy on loopback that damages chosen requests."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><body>Welcome to the network of this hotel</body></html>"
RESET, ERROR, BUSY, WELCOME, CUT, LOST = "reset", "500", "503", "page", "cut", "lost"
KINDS = (RESET, ERROR, BUSY, WELCOME, CUT, LOST)


@dataclass
class Plan:
    """Which requests are spoiled: those from the number `first` on, `count` of them, each in the way `kind`."""

    kind: str = ""
    first: int = 0
    count: int = 0
    seen: int = 0
    spoiled: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> str:
        """What to do to the next request; empty for nothing."""
        with self.lock:
            number, self.seen = self.seen, self.seen + 1
            hit = self.first <= number < self.first + self.count
            self.spoiled += hit
            return self.kind if hit else ""


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.plan = behind, Plan()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Connections that break are what this is for."""


@contextlib.contextmanager
def faulty_proxy(endpoint: str) -> Iterator[Proxy]:
    """A way to the server at the endpoint (http) that does what its `plan` says."""
    host, port = endpoint.removeprefix("http://").split(":")
    with Proxy((host, int(port))) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        yield proxy
        proxy.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.server.plan.next()
        if kind == RESET:
            return self.end()
        if kind in (ERROR, BUSY):
            return self.answer(int(kind), {"Content-Type": "text/html"}, PAGE)
        if kind == WELCOME:
            return self.answer(200, {"Content-Type": "text/html", "ETag": '"5f3c-1"', "Server": "nginx"}, PAGE)
        answer, content = self.forward(body)
        if kind == LOST:
            return self.end()
        length = int(answer.headers.get("Content-Length", len(content)))
        return self.answer(answer.status, dict(answer.headers), content, length, cut=kind == CUT)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815 - as http.server has it

    def forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.server.behind)
        with contextlib.closing(connection):
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()

    def answer(
        self, status: int, headers: dict[str, str], body: bytes, length: int | None = None, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if not cut:
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")
            return
        if body:
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
        else:
            self.wfile.write(b"".join(self._headers_buffer)[:40])  # type: ignore[attr-defined]
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Reset the connection, without an answer."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass
