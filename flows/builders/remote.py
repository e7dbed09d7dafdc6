"""The `remote` driver: a BuildKit daemon on the network that somebody else runs."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from rootfs.errors import ServiceUnreachable
from rootfs.recipe.builder import BuilderPlan

PORT = 1234  # BuildKit's, as in its own examples
REACH = 10.0  # seconds in which it must answer

# RFC 9113, 3.4: each side begins with a SETTINGS frame, the client with a preface before it; 4.1: a frame's header.
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + bytes(5)
FRAME = 9  # bytes
SPARE = 0.0  # seconds more than the plan's time: buildx has no timeout of its own


def reach(plan: BuilderPlan) -> None:
    """Check that the daemon answers and that TLS works: buildx would only report a timeout.

    Raises ServiceUnreachable with the reason.
    """
    address = urlsplit(plan.endpoint)
    if address.scheme != "tcp":
        return
    where, secure = (address.hostname or "", address.port or PORT), "cacert" in plan.options
    try:
        with socket.create_connection(where, timeout=REACH) as plain, _secured(plain, where[0], plan) as way:
            if not secure:
                way.sendall(
                    GREETING
                )  # not with TLS: sending to a server that has just refused us would lose its reason
            if way.recv(FRAME)[3:4] != SETTINGS:
                raise ConnectionError("it does not speak HTTP/2" + ("" if secure else ", or only with TLS"))
    except OSError as error:
        raise ServiceUnreachable(
            f"the builder does not answer as it should: {_reason(error)}",
            where=plan.endpoint,
            hint="Check the address, that buildkitd runs there, and the certificates: authority, dates, host name.",
        ) from error


def with_driver_options(plan: BuilderPlan, run_id: str) -> BuilderPlan:  # noqa: ARG001 - as for the other drivers
    """The plan unchanged: the daemon is somebody else's."""
    return plan


def explain(name: str, plan: BuilderPlan) -> str:  # noqa: ARG001 - as for the other drivers
    """Nothing to add to buildx's own message."""
    return ""


def remove_leftovers(prefix: str, *, late: bool = False) -> None:
    """Nothing to remove: the builder is only an entry of buildx."""


def _secured(plain: socket.socket, host: str, plan: BuilderPlan) -> socket.socket:
    if "cacert" not in plan.options:
        return plain
    context = ssl.create_default_context(cafile=plan.options["cacert"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # BuildKit's own client is not stricter
    if "cert" in plan.options:
        context.load_cert_chain(plan.options["cert"], plan.options.get("key"))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=plan.options.get("servername", host))


def _reason(error: OSError) -> str:
    """The error in words, without OpenSSL's identifiers: `certificate has expired`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
