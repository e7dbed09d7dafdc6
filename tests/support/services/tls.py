"""A certificate for a server on loopback that is its own authority."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A server's certificate, which is that of its authority too, and its key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A server's context with them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def identity(folder: Path) -> Identity:
    """Make a certificate for 127.0.0.1, valid for two days, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Identity(folder / "certificate", folder / "key")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*request, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True)
    return made
