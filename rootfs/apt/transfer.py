"""HTTP transfers: their credentials, the minimum rate, and the errors of refused and failed requests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rootfs.apt.credentials import Credentials
from rootfs.apt.errors import AccessDenied
from rootfs.network.authorities import Authorities, tls_context

TIMEOUT = 30.0  # seconds without a byte
CONNECT = 10.0  # seconds
# A transfer below this rate is ended: a mirror that sends a byte now and then would block a build for ever. Eight
# parallel transfers need 64 KiB/s.
RATE = 8 << 10  # bytes a second
WINDOW = 60.0  # seconds
MAX_REDIRECT = 64 << 10  # bytes of the text of a redirect, which nobody reads
DENIED = (401, 403, 407)


class TooSlow(httpx.TimeoutException):
    """A transfer is below the minimum rate."""


@dataclass(frozen=True)
class Transfers:
    """Settings of transfers: credentials, trusted authorities, timeouts.

    `rate` is the least in bytes a second, over `window` seconds.
    """

    credentials: Credentials = field(default_factory=Credentials)
    authorities: Authorities = field(default_factory=Authorities)
    timeout: float = TIMEOUT
    rate: float = RATE
    window: float = WINDOW

    def client(self) -> httpx.AsyncClient:
        """A client. Each request gets the credentials of its own address, also after a redirect."""
        hooks: dict[str, list[Callable[..., Any]]] = {
            "request": [self.credentials.add],
            "response": [_drop_text_of_redirect],
        }
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT))
        return httpx.AsyncClient(
            timeout=timeout, follow_redirects=True, event_hooks=hooks, verify=_context(self.authorities.file())
        )

    @contextlib.asynccontextmanager
    async def paced(self) -> AsyncIterator[Callable[[int], None]]:
        """A block for one transfer. It gets a function that it calls with the size of each chunk. Raises TooSlow."""
        clock = asyncio.get_running_loop().time
        minimum, received = self.rate * self.window, 0
        try:
            async with asyncio.timeout(self.window) as limit:

                def arrived(count: int) -> None:
                    nonlocal received
                    received += count
                    if received >= minimum:
                        received = 0
                        limit.reschedule(clock() + self.window)

                yield arrived
        except TimeoutError as error:
            message = f"it sent {received} bytes in {self.window:g} s, and {self.rate:g} a second are the least"
            raise TooSlow(message) from error


ANONYMOUS = Transfers()


@functools.cache
def _context(authorities: Path) -> ssl.SSLContext:
    """The certificate authorities to trust. Reading them takes longer than many a request, so they are read once."""
    return tls_context(authorities)


async def _drop_text_of_redirect(response: httpx.Response) -> None:
    """Read the text of a redirect and drop it: httpx would keep all of it, decompressed.

    Raises RemoteProtocolError if it is too long.
    """
    if not (response.has_redirect_location and isinstance(response.stream, httpx.AsyncByteStream)):
        return
    size = 0
    async for data in response.stream:
        size += len(data)
        if size > MAX_REDIRECT:
            raise httpx.RemoteProtocolError(f"its redirect has more than {MAX_REDIRECT >> 10} KiB of text")
    response.stream = httpx.ByteStream(b"")


def check_access(response: httpx.Response, address: str) -> None:
    """Raises AccessDenied if the server asks for credentials or refuses."""
    if response.status_code in DENIED:
        known = "Authorization" in response.request.headers
        raise AccessDenied(address, response.status_code, response.reason_phrase, known=known)


def proxy_denial(error: Exception, address: str) -> AccessDenied | None:
    """The error to raise if a proxy refuses to connect or wants credentials first; else None."""
    if isinstance(error, httpx.ProxyError) and (found := re.match(r"(\d{3})\b *(.*)", str(error))):
        status = int(found[1])
        return AccessDenied(address, status, found[2], known=False, proxy=True) if status in DENIED else None
    return None


def failure_reason(error: Exception) -> str:
    """Why a transfer failed, without the address."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return str(error) or type(error).__name__
