"""The `remote` driver: a BuildKit that somebody else runs, reached over the network."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from rootfs.errors import ServiceUnreachable
from rootfs.recipe.builder import BuilderPlan

PORT = 1234  # BuildKit's, as in its own examples
REACH = 10.0  # seconds in which it answers at all

# RFC 9113, 3.4: each side begins with a SETTINGS frame, the client with a preface before it; 4.1: a frame's header.
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + bytes(5)
FRAME = 9  # bytes
SPARE = 0.0  # buildx has no limit of its own


def reach(plan: BuilderPlan) -> None:
    """See that the daemon answers and that both sides accept each other: buildx would only say that its time was up.

    Raises ServiceUnreachable with the reason.
    """
    address = urlsplit(plan.endpoint)
    if address.scheme != "tcp":
        return
    where, secure = (address.hostname or "", address.port or PORT), "cacert" in plan.options
    try:
        with socket.create_connection(where, timeout=REACH) as plain, _secured(plain, where[0], plan) as way:
            if not secure:
                way.sendall(GREETING)  # not through TLS: sending to who has just refused us would lose their reason
            if way.recv(FRAME)[3:4] != SETTINGS:
                raise ConnectionError("it does not speak HTTP/2" + ("" if secure else ", or only with TLS"))
    except OSError as error:
        raise ServiceUnreachable(
            f"the builder does not answer as it should: {_reason(error)}",
            where=plan.endpoint,
            hint="Check the address, that buildkitd runs there, and the certificates: authority, dates, host name.",
        ) from error


def prepared(plan: BuilderPlan, run_id: str) -> BuilderPlan:  # noqa: ARG001 - as for the other drivers
    """As it is: the daemon is somebody else's, and nothing of ours is put on it."""
    return plan


def explain(name: str, plan: BuilderPlan) -> str:  # noqa: ARG001 - as for the other drivers
    """buildx says it all."""
    return ""


def remove_leftovers(prefix: str, *, late: bool = False) -> None:
    """There is nothing but buildx's entry."""


def _secured(plain: socket.socket, host: str, plan: BuilderPlan) -> socket.socket:
    if "cacert" not in plan.options:
        return plain
    context = ssl.create_default_context(cafile=plan.options["cacert"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # BuildKit's own client is no stricter either
    if "cert" in plan.options:
        context.load_cert_chain(plan.options["cert"], plan.options.get("key"))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=plan.options.get("servername", host))


def _reason(error: OSError) -> str:
    """The fault in words, without OpenSSL's names of its parts: `certificate has expired`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
