"""The `remote` driver: a BuildKit that somebody else runs, reached over the network."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows.builders.buildx import Buildx, created, driver_options, name_of
from flows.builders.engine import Engine
from rootfs.errors import BuilderUnreachable
from rootfs.run import Log

DRIVER = "remote"
PORT = 1234  # BuildKit's, as in its own examples
REACH = 10.0  # seconds in which it answers at all

# RFC 9113, 3.4: each side begins with a SETTINGS frame, the client with a preface before it; 4.1: a frame's header.
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + bytes(5)
FRAME = 9  # bytes


@dataclass(frozen=True)
class Tls:
    """PEM files: the authority that the daemon is checked with, and what we show it, where it asks for that.

    `server_name` is the one in the daemon's certificate, where that is not the address's.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @property
    def options(self) -> dict[str, str]:
        """As the driver names them."""
        named = {"cacert": self.ca, "cert": self.cert, "key": self.key, "servername": self.server_name}
        return {key: str(value) for key, value in named.items() if value}


@contextlib.contextmanager
def remote(engine: Engine, run_id: str, endpoint: str, *, tls: Tls | None = None, log: Log) -> Iterator[Buildx]:
    """buildx's entry for the daemon at `endpoint` (`tcp://HOST:PORT`), gone when the block ends; the daemon stays.

    Raises BuilderUnreachable with the reason, BuildxMissing and BuilderFailed.
    """
    _greet(endpoint, tls)
    builder = Buildx(engine, name_of(run_id), DRIVER, log)
    with created(builder, *driver_options(tls.options if tls else {}), endpoint):
        yield builder


def _greet(endpoint: str, tls: Tls | None) -> None:
    """See that it answers and that both sides accept each other: buildx would only say that its time was up."""
    address = urlsplit(endpoint)
    if address.scheme != "tcp":
        return
    where = (address.hostname or "", address.port or PORT)
    try:
        with socket.create_connection(where, timeout=REACH) as plain, _secured(plain, where[0], tls) as way:
            if tls is None:
                way.sendall(GREETING)  # not through TLS: sending to who has just refused us would lose their reason
            if way.recv(FRAME)[3:4] != SETTINGS:
                raise ConnectionError("it does not speak HTTP/2" + ("" if tls else ", or only with TLS"))
    except OSError as error:
        raise BuilderUnreachable(endpoint, _reason(error)) from error


def _secured(plain: socket.socket, host: str, tls: Tls | None) -> socket.socket:
    if tls is None:
        return plain
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # BuildKit's own client is no stricter either
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=tls.server_name or host)


def _reason(error: OSError) -> str:
    """The fault in words, without OpenSSL's names of its parts: `certificate has expired`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
