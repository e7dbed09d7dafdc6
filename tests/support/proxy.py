"""A forward proxy on loopback that requires a name and a password and sends every host's requests to one server."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

END_TO_END = ("Authorization", "If-None-Match", "Range", "If-Range")
BACK = ("ETag", "Last-Modified", "Content-Range")


@dataclass
class Proxy:
    """Where it is, with name and password, and what it was asked: (address, status)."""

    address: str
    asked: list[tuple[str, int]] = field(default_factory=list)


@contextlib.contextmanager
def proxying(server: str, who: str) -> Iterator[Proxy]:
    """A proxy for `who` (NAME:PASSWORD) that asks `server` for the path of any address."""
    known = f"Basic {base64.b64encode(who.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = 407, {"Proxy-Authenticate": 'Basic realm="test"'}, b""
            if self.headers.get("Proxy-Authorization") == known:
                sent = {name: self.headers[name] for name in END_TO_END if name in self.headers}
                with httpx.Client(trust_env=False) as client:
                    answer = client.get(server + urlsplit(self.path).path, headers=sent)
                status, body = answer.status_code, answer.content
                headers = {name: answer.headers[name] for name in BACK if name in answer.headers}
            state.asked.append((self.path, status))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client may hang up."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        state = Proxy(f"http://{who}@127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            listening.shutdown()
            thread.join()
