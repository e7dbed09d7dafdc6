"""The program that is the local Prefect server: Prefect's API and pages, for this machine's own addresses only.

`prefect server start` accepts every host name, and so also requests of a web page whose name was pointed at this
machine (DNS rebinding).
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from flows.orchestration import listener

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = (listener.HOST, "localhost")
# Prefect's pages would ask a vendor of statistics for its settings, and could be shown in a frame of another page.
POLICY = "connect-src 'self'; frame-ancestors 'none'"
SILENCE = 10.0  # seconds after which a new connection that has sent no request is closed
LARGEST_LOG = 8 << 20  # bytes
GRACE = 5  # seconds for requests that are being answered at the end; a page keeps its connection open


class ContentSecurityPolicy:
    """Tells browsers that the pages may only talk to this server (Content Security Policy Level 3)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the policy among the headers."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)


class ClosingSilentConnections(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP that closes a new connection on which no request comes: any user of the machine can open many of them."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(SILENCE, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and self.transport.get_protocol() is self:  # a websocket has another protocol by now
            self.transport.close()


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Whether to log this: asyncio logs each connection that it cannot accept, thousands of times a second."""
    return not record.getMessage().startswith("socket.accept() out of system resource")


def _bound_log() -> None:
    """Empty the log, which is our standard error, whenever it is large: other users can cause errors."""
    while True:
        found = os.fstat(sys.stderr.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_size > LARGEST_LOG:
            os.ftruncate(sys.stderr.fileno(), 0)
        time.sleep(1)


def main(handle: int) -> None:
    """Serve on this socket, which listens already, until a signal ends it."""
    ours = socket.socket(fileno=handle)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.getLogger("asyncio").addFilter(_is_of_interest)
    threading.Thread(target=_bound_log, daemon=True).start()
    listener.hand_out(ours)
    app = create_app(final=True)
    app.add_middleware(ContentSecurityPolicy)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=NAMES)
    settings = get_current_settings().server
    config = uvicorn.Config(
        app,
        http=ClosingSilentConnections,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        timeout_graceful_shutdown=GRACE,
        log_level=settings.logging_level.lower(),
    )
    uvicorn.Server(config).run(sockets=[ours])


if __name__ == "__main__":
    main(int(sys.argv[1]))
