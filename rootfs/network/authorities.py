"""The certificate authorities that every connection trusts: the machine's, and those of the setting `ca_bundle`.

Each library and program has its own place to look for authorities. All of them are given the same file instead.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from rootfs.errors import InputError
from rootfs.system.atomic_file import write_file
from rootfs.system.digests import sha256_of_bytes

MACHINE = Path("/etc/ssl/certs/ca-certificates.crt")  # as update-ca-certificates(8) writes it
NOT_TRUSTED = (
    "If it has a certificate of your own authority: add that to the machine's store, or name it in `ca_bundle`."
)

# What OpenSSL, GnuTLS in apt, and Go say of a certificate that they do not trust.
UNTRUSTED = ("certificate verify failed", "certificate verification failed", "failed to verify certificate", "x509: ")


@dataclass(frozen=True)
class Authorities:
    """The machine's authorities, and those of a file (PEM). The file of both is kept in `folder`."""

    bundle: Path | None = None
    folder: Path | None = None

    def file(self) -> Path:
        """A file (PEM) with all authorities. Raises InputError if the bundle cannot be used."""
        if self.bundle is None or self.folder is None:
            return machine_file()
        try:
            content = _content(machine_file()) + read_bundle(self.bundle)
        except ValueError as error:
            raise InputError(f"ca_bundle: {error}") from error
        path = self.folder / f"{sha256_of_bytes(content)}.pem"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(path, content, mode=0o644)
        return path


def machine_file() -> Path:
    """The machine's store: the file that `SSL_CERT_FILE` names, as OpenSSL and Go read it, else the distribution's."""
    return Path(os.environ.get("SSL_CERT_FILE") or MACHINE).absolute()


def tls_context(authorities: Path) -> ssl.SSLContext:
    """A client's context that trusts these authorities alone. Without such a file it trusts nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authorities.is_file():
        context.load_verify_locations(cafile=authorities)
    return context


def read_bundle(path: Path) -> bytes:
    """The file's content, with a newline around it. Raises ValueError unless it holds certificates in PEM form."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode())
    except (ssl.SSLError, ValueError):
        text = (
            "holds no certificates in PEM form: one block from BEGIN CERTIFICATE to END CERTIFICATE for each authority"
        )
        raise ValueError(f"{path} {text}") from None
    return b"\n" + content.strip() + b"\n"


def is_untrusted(reason: str) -> bool:
    """Whether a connection failed because the server's certificate is not trusted."""
    return any(words in reason.lower() for words in UNTRUSTED)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
