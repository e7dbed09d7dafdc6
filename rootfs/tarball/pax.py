"""Extended headers of a tar, which precede a member's own header and override it.

Sources: POSIX.1-2024, pax, "pax Extended Header"; the manuals of GNU tar and star, and libarchive's tar(5), for what
each of them adds.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from rootfs.tarball.sparse import BadMap, decimal
from rootfs.tree.member import XATTR

LARGEST = 1 << 20  # bytes of one extended header
RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\0\n]+)=")
TIME = re.compile(rb"(-?[0-9]{1,20})(?:\.[0-9]*)?")
XATTR_ENCODED = "LIBARCHIVE.xattr."  # the name is percent-encoded, the value is base64
# Keys that no tar program writes into a global header: they would change every member after it.
OF_ONE_MEMBER = re.compile(r"(path|linkpath|size|GNU\.sparse\..*|SCHILY\.(xattr|realsize).*|LIBARCHIVE\.xattr\..*)")
OF_ALL = ("uid", "gid", "mtime")
UNKNOWN_SPARSE = ("SCHILY.realsize", "SUN.holesdata")

Records = list[tuple[str, bytes]]


class BadHeader(ValueError):
    """An extended header is broken or ambiguous."""


@dataclass
class Extensions:
    """The extended headers of one member; `records` are those of pax, in order, and may repeat keys."""

    records: Records = field(default_factory=list)
    path: bytes | None = None
    link: bytes | None = None

    def value(self, key: str) -> bytes | None:
        """The last value of a key; an empty value cancels it."""
        return next((value for known, value in reversed(self.records) if known == key), None) or None

    def number(self, key: str) -> int | None:
        """A whole number. Raises BadHeader."""
        value = self.value(key)
        try:
            return None if value is None else decimal(value)
        except BadMap as error:
            raise BadHeader(f"has no readable {key}") from error

    @property
    def mtime(self) -> int | None:
        """Whole seconds; a fraction is cut off. Raises BadHeader."""
        if (value := self.value("mtime")) is None:
            return None
        if not (match := TIME.fullmatch(value)):
            raise BadHeader("has no readable mtime")
        return int(match[1])

    @property
    def xattrs(self) -> dict[str, bytes]:
        """Extended attributes, in both encodings. Raises BadHeader."""
        return dict(self._xattrs())

    def _xattrs(self) -> Iterator[tuple[str, bytes]]:
        for key, value in self.records:
            if key.startswith(XATTR_ENCODED):
                try:
                    name = unquote(key[len(XATTR_ENCODED) :], errors="surrogateescape")
                    yield name, base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
                except binascii.Error as error:
                    raise BadHeader("has an extended attribute that is no base64") from error
        for key, value in self.records:
            if key.startswith(XATTR):
                yield key[len(XATTR) :], value


def records(data: bytes) -> Records:
    """The records of a pax header, `LENGTH KEY=VALUE\\n`. Raises BadHeader."""
    found, place = [], 0
    while place < len(data):
        match = RECORD.match(data, place)
        end = place + int(match[1]) if match else 0
        if not match or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise BadHeader("has a broken pax header")
        found.append((match[2].decode(errors="surrogateescape"), data[match.end() : end - 1]))
        place = end
    return found


def global_values(data: bytes) -> dict[str, bytes]:
    """The values of a global header that count for all members. Raises BadHeader for keys of a single member."""
    found = dict(records(data))
    if wrong := next(filter(OF_ONE_MEMBER.fullmatch, found), None):
        raise BadHeader(f"says {wrong} for all members that follow")
    return {key: found[key] for key in OF_ALL if key in found}
