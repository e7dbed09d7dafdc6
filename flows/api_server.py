"""The program that is the local Prefect server: Prefect's API and pages, for this machine's own addresses only.

`prefect server start` answers whatever name it is asked by, and so also a web page whose own name was pointed at this
machine (DNS rebinding).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
# Prefect's pages would ask a vendor of statistics for its settings, and could be shown in a frame of another page.
POLICY = "connect-src 'self'; frame-ancestors 'none'"
GRACE = 5  # seconds for requests that are being answered when we are told to end; a page keeps its connection open


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


def main(port: int) -> None:
    """Serve until we are told to end."""
    app = create_app(final=True)
    app.add_middleware(ContentSecurityPolicy)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=NAMES)
    settings = get_current_settings().server
    uvicorn.run(
        app,
        host=HOST,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        timeout_graceful_shutdown=GRACE,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
