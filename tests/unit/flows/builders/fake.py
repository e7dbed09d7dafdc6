"""A fake engine with chosen answers, for errors that a real one does not produce on demand."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}

Answer = Callable[[BaseHTTPRequestHandler], object]
"""Takes a request and returns what to send as JSON, or sends something itself and returns None."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


def failing(status: int, message: str) -> Answer:
    """An answer that refuses."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        send(request, {"message": message}, status)

    return answer


def send(request: BaseHTTPRequestHandler, data: object, status: int = 200) -> None:
    body = json.dumps(data).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@contextlib.contextmanager
def engine(folder: Path, answers: dict[str, Answer | dict[str, Any]]) -> Iterator[str]:
    """The address of an engine that knows these paths (without the API's version) besides /version and /info."""
    known: dict[str, Answer | dict[str, Any]] = {"/version": VERSION, "/info": {"DriverStatus": []}, **answers}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "client"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/v1.41")
            answer = known.get(path, failing(404, f"No such image: {path}"))
            data = answer(self) if callable(answer) else answer
            if data is not None:
                send(self, data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server wants these names

    path = folder / "engine.sock"
    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()
