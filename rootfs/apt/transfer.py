"""How files are fetched over http: with which credentials, how slow a transfer may be, and what a refusal means."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx

from rootfs.apt.credentials import Credentials
from rootfs.apt.errors import AccessDenied

TIMEOUT = 30.0  # seconds without a byte
CONNECT = 10.0  # seconds
# A transfer that brings fewer bytes in so many seconds has ended: a mirror that sends a byte now and then would hold a
# night for ever. Eight transfers at a time make that 64 KiB/s of a line.
RATE = 8 << 10  # bytes a second
WINDOW = 60.0  # seconds
DENIED = (401, 403, 407)


class TooSlow(httpx.TimeoutException):
    """A transfer brings too few bytes."""


@dataclass(frozen=True)
class Transfers:
    """How files are fetched: as whom, and how slowly at the least (`rate`, bytes a second over `window` seconds)."""

    credentials: Credentials = field(default_factory=Credentials)
    timeout: float = TIMEOUT
    rate: float = RATE
    window: float = WINDOW

    def client(self) -> httpx.AsyncClient:
        """What asks addresses. Each request gets the credentials of its own address, also after a redirect."""
        hooks = {"request": [self.credentials.add]}
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT))
        return httpx.AsyncClient(timeout=timeout, follow_redirects=True, event_hooks=hooks)

    @contextlib.asynccontextmanager
    async def paced(self) -> AsyncIterator[Callable[[int], None]]:
        """A block for one transfer, which says how many bytes have come. Raises TooSlow, also for a slow head."""
        clock = asyncio.get_running_loop().time
        wanted, came = self.rate * self.window, 0
        try:
            async with asyncio.timeout(self.window) as limit:

                def arrived(count: int) -> None:
                    nonlocal came
                    came += count
                    if came >= wanted:
                        came = 0
                        limit.reschedule(clock() + self.window)

                yield arrived
        except TimeoutError as error:
            slow = f"it sent {came} bytes in {self.window:g} s, and {self.rate:g} a second are the least"
            raise TooSlow(slow) from error


ANONYMOUS = Transfers()


def check_access(answer: httpx.Response, address: str) -> None:
    """Raises AccessDenied where whoever answers wants to know who asks, or says no."""
    if answer.status_code in DENIED:
        known = "Authorization" in answer.request.headers
        raise AccessDenied(address, answer.status_code, answer.reason_phrase, known=known)


def proxy_denial(error: Exception, address: str) -> AccessDenied | None:
    """The error where a proxy wants to know who asks before it connects us (https)."""
    if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
        return AccessDenied(address, 407, "Proxy Authentication Required", known=False)
    return None


def failure_reason(error: Exception) -> str:
    """Why a transfer failed, in a few words without the address."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return str(error) or type(error).__name__
