"""Recognize state that differs in each build, by path and content: databases, certificates, identifiers, keystores."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from rootfs.tree import java_keystore
from rootfs.tree.key_formats import is_certificate_store
from rootfs.tree.normalize import bytecode_time

CERTIFICATE = "certificate that the build has made"
# Files that a database has once, by the end of their path, which is not part of the database's own folder.
DATABASES = {
    "/global/pg_control": "PostgreSQL database",
    "/ibdata1": "MariaDB or MySQL database",
    "/data.mdb": "LMDB database",
    "/cn=config.ldif": "settings of slapd",
}
IDENTIFIERS = (
    "etc/iscsi/initiatorname.iscsi",
    "etc/nvme/hostnqn",
    "etc/popularity-contest.conf",
    "var/lib/systemd/random-seed",
)
LARGEST_IDENTIFIER = 128  # bytes
UUID = re.compile(rb"\s*(?:\w+[=:]\s*)?[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\s*")
HEX_ID = re.compile(rb"\s*[0-9a-f]{32}\s*")

PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END")
# X.509 (RFC 5280, 4.1): `Validity`, a SEQUENCE of two times; the first is matched.
VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)")


def database_of(path: str) -> tuple[str, str] | None:
    """The folder of the database, and what it is, that the file at a path is the mark of."""
    for end, what in DATABASES.items():
        if path.endswith(end):
            return path.removesuffix(end), what
    return None


def varying_state(path: str, data: bytes, epoch: int) -> str:
    """What a file with this content is that differs in each build, for people; empty for other files.

    `epoch` is the time of the tree in seconds since 1970: what is dated later was made by the build.
    """
    if path in IDENTIFIERS or _is_identifier(path, data):
        return "identifier"
    if b"CERTIFICATE-----" in data and any(each > epoch for each in _issue_times(data)):
        return CERTIFICATE
    if data.startswith(java_keystore.MAGIC) and java_keystore.newest_date(data) > epoch:
        return "Java keystore"
    if is_certificate_store(data):
        return "PKCS#12 keystore"
    return "Python bytecode with a time of the build" if path.endswith(".pyc") and bytecode_time(data) > epoch else ""


def _is_identifier(path: str, data: bytes) -> bool:
    if len(data) > LARGEST_IDENTIFIER:
        return False
    return bool(UUID.fullmatch(data) or ("id" in posixpath.basename(path) and HEX_ID.fullmatch(data)))


def _issue_times(data: bytes) -> Iterator[int]:
    """When the certificates of a text were issued, in seconds since 1970."""
    for found in PEM.finditer(data):
        try:
            der = base64.b64decode(found[1])
            if times := VALIDITY.search(der):
                text = (times[2] or _century(times[1]) + times[1]).decode()
                yield int(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
        except (ValueError, binascii.Error, struct.error):
            continue


def _century(year: bytes) -> bytes:
    """RFC 5280, 4.1.2.5.1: two digits from 50 on are of the last century."""
    return b"19" if year[:2] >= b"50" else b"20"
