"""Java's own format of keystores (JKS): sun.security.provider.JavaKeyStore in OpenJDK.

A keystore ends with a seal: the SHA-1 of a password and everything before. The password of Debian's is Java's default.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

MAGIC, VERSION = b"\xfe\xed\xfe\xed", 2
OLD_VERSION = 1  # of Java 1.1: no type before each certificate
PRIVATE_KEY, TRUSTED = 1, 2  # kinds of entries
HEADER = struct.Struct(">4sII")  # magic, version, number of entries
WHITENER, PASSWORD = b"Mighty Aphrodite", "changeit"
SEAL_SIZE = hashlib.sha1().digest_size  # noqa: S324 - the format's


@dataclass(frozen=True)
class Entry:
    """One entry: its kind, alias, date in milliseconds since 1970, and its certificates or key as they are written."""

    kind: int
    alias: bytes
    date: int
    content: bytes

    def to_bytes(self) -> bytes:
        """The entry as it is in the file."""
        return struct.pack(">I", self.kind) + _text(self.alias) + struct.pack(">Q", self.date) + self.content


def trusted_certificate(alias: str, der: bytes, mtime: int) -> Entry:
    """The entry of a certificate, dated `mtime` (seconds since 1970)."""
    content = _text(b"X.509") + struct.pack(">I", len(der)) + der
    return Entry(TRUSTED, alias.encode("ascii", errors="replace"), mtime * 1000, content)


def keystore(entries: list[Entry]) -> bytes:
    """A keystore of these entries, with Java's default password."""
    body = HEADER.pack(MAGIC, VERSION, len(entries)) + b"".join(entry.to_bytes() for entry in entries)
    return body + _seal(body)


def has_private_key(data: bytes) -> bool:
    """Whether a keystore has a private key, with whatever password, and whatever follows it."""
    try:
        return any(entry.kind == PRIVATE_KEY for entry in _entries(data, versions=(OLD_VERSION, VERSION)))
    except (ValueError, struct.error):
        return False


def trusted_certificates(data: bytes) -> set[bytes] | None:
    """The certificates (DER) that a keystore trusts, with whatever password; None for what is no keystore."""
    try:
        trusted = [entry.content for entry in _entries(data) if entry.kind == TRUSTED]
        return {content[2 + struct.unpack_from(">H", content)[0] + 4 :] for content in trusted}
    except (ValueError, struct.error):
        return None


def newest_date(data: bytes) -> int:
    """The newest date of an entry, in seconds since 1970; 0 for what is no keystore."""
    try:
        return max((entry.date // 1000 for entry in _entries(data)), default=0)
    except (ValueError, struct.error):
        return 0


def add_entries(data: bytes, added: list[Entry]) -> bytes:
    """The keystore with further entries of certificates, where it does not trust these yet.

    An alias that is taken, without regard to case as in Java, gets a number.
    A keystore with another password than Java's default stays as it is, as does what is no keystore.
    """
    if (entries := _sealed_entries(data)) is None:
        return data
    there, aliases = {entry.content for entry in entries if entry.kind == TRUSTED}, {e.alias.lower() for e in entries}
    new = list[Entry]()
    for entry in added:
        if entry.content not in there:
            names = (entry.alias if number == 1 else b"%s-%d" % (entry.alias, number) for number in count(1))
            new.append(replace(entry, alias=next(name for name in names if name.lower() not in aliases)))
            there.add(entry.content)
            aliases.add(new[-1].alias.lower())
    return keystore(sorted([*entries, *new], key=lambda entry: entry.alias)) if new else data


def clamp_dates(data: bytes, epoch: int) -> bytes:
    """The keystore with no date after `epoch`, in seconds since 1970, and its entries sorted by alias.

    Java dates entries by the clock. A keystore with another password than Java's default stays as it is, as does what
    is no keystore.
    """
    if (entries := _sealed_entries(data)) is None:
        return data
    if all(entry.date <= epoch * 1000 for entry in entries):
        return data
    clamped = [replace(entry, date=min(entry.date, epoch * 1000)) for entry in entries]
    return keystore(sorted(clamped, key=lambda entry: entry.alias))


def _sealed_entries(data: bytes) -> list[Entry] | None:
    """The entries of a keystore with Java's default password; None for any other, and for what is no keystore."""
    if data[-SEAL_SIZE:] != _seal(data[:-SEAL_SIZE]):
        return None
    try:
        return list(_entries(data))
    except (ValueError, struct.error):
        return None


def _seal(body: bytes) -> bytes:
    return hashlib.sha1(PASSWORD.encode("utf-16-be") + WHITENER + body).digest()  # noqa: S324 - the format's


def _text(data: bytes) -> bytes:
    """As java.io.DataOutput.writeUTF writes it."""
    return struct.pack(">H", len(data)) + data


def _entries(data: bytes, versions: tuple[int, ...] = (VERSION,)) -> Iterator[Entry]:
    """The entries. Raises ValueError or struct.error for what is no keystore."""
    reader = _Reader(data)
    magic, version, count = HEADER.unpack(reader.take(HEADER.size))
    if magic != MAGIC or version not in versions:
        raise ValueError("it is no keystore of this format")
    for _ in range(count):
        kind, alias, date = reader.number(">I"), reader.take(reader.number(">H")), reader.number(">Q")
        start = reader.position
        if kind == PRIVATE_KEY:
            reader.take(reader.number(">I"))
        for _ in range(reader.number(">I") if kind == PRIVATE_KEY else 1):
            if version != OLD_VERSION:
                reader.take(reader.number(">H"))
            reader.take(reader.number(">I"))
        yield Entry(kind, alias, date, data[start : reader.position])
    if len(data) - reader.position != SEAL_SIZE:
        raise ValueError("it does not end after its entries")


class _Reader:
    """Reads numbers and bytes one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self.position = data, 0

    def take(self, size: int) -> bytes:
        found = self._data[self.position : self.position + size]
        if len(found) < size:
            raise ValueError("it ends early")
        self.position += size
        return found

    def number(self, form: str) -> int:
        [value] = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)
