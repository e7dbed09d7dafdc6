"""Receivers of messages on loopback: a real SMTP server and a real webhook."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP

from tests.support.services.tls import Identity


class Mailbox:
    """An SMTP server's mails."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.address = ""

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@contextlib.contextmanager
def smtp_server() -> Iterator[Mailbox]:
    """A mail server that takes every mail. Its `address` is one of Apprise."""
    mailbox = Mailbox()
    loop = asyncio.new_event_loop()
    made = loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    server = loop.run_until_complete(made)
    port = server.sockets[0].getsockname()[1]
    mailbox.address = f"mailto://127.0.0.1:{port}?from=factory@example.org&to=team@example.org&mode=insecure"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield mailbox
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()


@dataclass
class Webhook:
    """An HTTP server that keeps the JSON documents that are posted to it. `statuses` are its next answers."""

    address: str
    posts: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: int = 0


@contextlib.contextmanager
def webhook(tls: Identity | None = None) -> Iterator[Webhook]:
    """A webhook over http or https whose `address` is one of Apprise, with a token in its path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests += 1
            status = hook.statuses.pop(0) if hook.statuses else 200
            if status == 200:
                hook.posts.append(json.loads(data))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.context().wrap_socket(server.socket, server_side=True)
        hook = Webhook(f"json{'s' if tls else ''}://user:pa55word@127.0.0.1:{server.server_port}/s3cret-token")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
