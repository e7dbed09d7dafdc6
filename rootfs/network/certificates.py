"""Certificates of authorities (CA) in PEM form, read from files and checked."""

from __future__ import annotations

import base64
import re
import ssl
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import cast

# The text between has no "-": the search takes linear time also in a file of beginnings alone.
PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([^-]++)-----END (?:TRUSTED )?CERTIFICATE-----")
LARGEST = 1 << 20  # bytes of a file of certificates
FOLDER = "usr/local/share/ca-certificates"  # where update-ca-certificates(8) looks for a machine's own ones


@dataclass(frozen=True)
class Certificate:
    """The certificate of an authority: its file's name, its content (DER), and its end in seconds since 1970."""

    name: str
    der: bytes
    subject: str
    end: int

    @property
    def pem(self) -> bytes:
        """The certificate in PEM form, with nothing around it."""
        text = "\n".join(textwrap.wrap(base64.b64encode(self.der).decode(), 64))
        return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n".encode()

    @property
    def path(self) -> str:
        """Where it is in a tree, for update-ca-certificates(8)."""
        return f"{FOLDER}/{self.name}.crt"


def read_certificates(folder: Path, files: Iterable[str]) -> list[Certificate]:
    """The certificates in these files of a folder, each once. Raises ValueError with a sentence.

    Their names are unique, without regard to case, which Java's keystore does not know.
    """
    found = dict[bytes, Certificate]()
    names = set[str]()
    for certificate in (each for file in files for each in _read_file(folder / file)):
        if certificate.der not in found:
            name = _free_name(certificate.name, names)
            names.add(name.lower())
            found[certificate.der] = replace(certificate, name=name)
    return list(found.values())


def der_certificates(text: bytes) -> list[bytes]:
    """The contents of all certificates in a text in PEM form; those that cannot be decoded are left out."""
    found = []
    for block in PEM.findall(text):
        try:
            found.append(base64.b64decode(block))
        except ValueError:
            continue
    return found


def _read_file(path: Path) -> list[Certificate]:
    data = path.read_bytes()
    if b"PRIVATE KEY-----" in data:
        raise ValueError(f"{path} has a private key in it, which no image may have: name a file of certificates alone")
    if len(data) > LARGEST or not (contents := der_certificates(data)):
        raise ValueError(
            f"{path} has no certificate in PEM form (from BEGIN CERTIFICATE to END CERTIFICATE); of a file in DER form,"
            " `openssl x509 -inform der -in FILE` prints it so"
        )
    stem = re.sub(r"[^A-Za-z0-9._+-]", "_", PurePosixPath(path.name).stem)
    return [_checked(path, stem, der) for der in contents]


def _free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken; `taken` are in lower case."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(each for each in names if each.lower() not in taken)


def _checked(path: Path, name: str, der: bytes) -> Certificate:
    """The certificate, if it is one, and of an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError):
        raise ValueError(f"{path}: what is in it as a certificate is none, or is damaged") from None
    if not (found := context.get_ca_certs()):
        raise ValueError(
            f"{path} has the certificate of a server or person, not of an authority (CA): it can sign nothing"
        )
    parts = cast(tuple[tuple[tuple[str, str], ...], ...], found[0]["subject"])
    subject = ", ".join(f"{key}={value}" for part in parts for key, value in part)
    return Certificate(name, der, subject, int(ssl.cert_time_to_seconds(str(found[0]["notAfter"]))))
