"""A mirror on loopback that serves files correctly or with chosen errors."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from rootfs.lock.lock import Package

ARCHIVE = "http://archive.example/debian"
CHANGED = 1_700_000_000  # seconds since 1970: when the files were last changed


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's next answer for the path says; without one, as a good server does."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        mirror, path = self.server.mirror, unquote(self.path)
        mirror.asked.append((path, dict(self.headers.items())))
        mirror.connections.add(self.client_address)
        answers = mirror.answers[path]
        (answers.pop(0) if answers else good)(self, mirror.files.get(path))

    def do_CONNECT(self) -> None:
        """As a proxy for https."""
        self.do_GET()

    def head(self, status: int, length: int | None, **more: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the test's terminal."""


Answer = Callable[[Handler, bytes | None], None]


@dataclass
class Mirror:
    """What it has by path, its next answers by path, and what it was asked: (path, headers)."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: defaultdict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)

    def mirror(self, address: str) -> str:
        """This mirror's address for the archive's."""
        assert address == ARCHIVE
        return self.address

    def offer(self, name: str, data: bytes, *answers: Answer, version: str = "1.0-1") -> Package:
        """Have a deb with these bytes, to be served by these answers first."""
        deb = package(name, data, version)
        self.files[f"/{deb.path}"] = data
        self.answers[f"/{deb.path}"] = list(answers)
        return deb


def package(name: str, data: bytes, version: str = "1.0-1") -> Package:
    return Package(
        name=name,
        version=version,
        architecture="amd64",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        source=name,
        archive=ARCHIVE,
        suite="trixie",
        path=f"pool/{name}_{version}_amd64.deb",
    )


# Answers


def good(handler: Handler, data: bytes | None) -> None:
    """With ranges, if the file is the one that was meant."""
    if data is None:
        handler.head(404, 0)
        return
    changed = formatdate(CHANGED, usegmt=True)
    meant = handler.headers.get("If-Range", changed) == changed
    if meant and (asked := re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))):
        start = int(asked[1])
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.head(206, len(data) - start, Content_Range=span, Last_Modified=changed)
        handler.wfile.write(data[start:])
    else:
        handler.head(200, len(data), Last_Modified=changed)
        handler.wfile.write(data)


def without_ranges(handler: Handler, data: bytes | None) -> None:
    assert data is not None
    handler.head(200, len(data))
    handler.wfile.write(data)


def cut(after: int, *, dated: bool = True) -> Answer:
    """Breaks off after so many bytes."""

    def answer(handler: Handler, data: bytes | None) -> None:
        assert data is not None
        more = {"Last_Modified": formatdate(CHANGED, usegmt=True)} if dated else {}
        handler.head(200, len(data), **more)
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return answer


def says(status: int, body: bytes = b"", length: int | None = -1, **headers: str) -> Answer:
    """Another answer altogether; with `length` None it ends with the connection."""

    def answer(handler: Handler, _: bytes | None) -> None:
        handler.head(status, len(body) if length == -1 else length, **headers)
        handler.wfile.write(body)
        handler.close_connection = length != -1

    return answer


def hangs(until: threading.Event) -> Answer:
    """Says half, and then nothing."""

    def answer(handler: Handler, data: bytes | None) -> None:
        assert data is not None
        handler.head(200, len(data), Last_Modified=formatdate(CHANGED, usegmt=True))
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        until.wait(30)
        handler.close_connection = True

    return answer


def drips(seconds: float, *, head: bool = False) -> Answer:
    """Says one byte at a time, with a pause before each; its head too if that is asked for."""

    def answer(handler: Handler, data: bytes | None) -> None:
        assert data is not None
        if head:
            data = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * len(data)
        else:
            handler.head(200, len(data), Last_Modified=formatdate(CHANGED, usegmt=True))
        handler.close_connection = True
        with contextlib.suppress(ConnectionError):
            for byte in data:
                time.sleep(seconds)
                handler.wfile.write(bytes([byte]))

    return answer


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    mirror: Mirror

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


@contextlib.contextmanager
def serving() -> Iterator[Mirror]:
    """A mirror that has nothing yet."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.mirror = Mirror(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.mirror
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A mirror that has nothing yet."""
    with serving() as server:
        yield server
