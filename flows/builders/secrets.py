"""Secrets that a build is lent: given to buildx as files, and kept out of all that comes back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rootfs.errors import SecretUnknown
from rootfs.run import Log

SHORTEST = 8  # bytes: what is shorter is found everywhere by chance
CHUNK = 1 << 20
MASK = "•••"


@dataclass(frozen=True)
class Secrets:
    """The values of secrets, by id."""

    values: Mapping[str, bytes]

    def masked(self, text: str) -> str:
        """The text with no line of a secret left in it."""
        for value in self.values.values():
            for line in value.decode(errors="replace").splitlines():
                text = text.replace(line, MASK) if len(line) >= SHORTEST else text
        return text

    def log(self, log: Log) -> Log:
        """A log that is told no secret."""
        return lambda line: log(self.masked(line))

    def found_in(self, data: bytes) -> str | None:
        """The id of a secret that is in there."""
        return next((name for name, value in self.values.items() if value in data), None)


class Watched(io.RawIOBase):
    """A stream that notes which secret passes in it; the end of a piece is looked at again with the next."""

    def __init__(self, source: io.BufferedIOBase, secrets: Secrets) -> None:
        self._source, self._secrets = source, secrets
        self._longest = max(map(len, secrets.values.values()), default=1)
        self._before, self.found = b"", ""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # of what io hands in
        """Hand on the next bytes."""
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        seen = self._before + data
        self.found = self.found or self._secrets.found_in(seen) or ""
        self._before = seen[len(seen) - self._longest + 1 :] if self._longest > 1 else b""
        return len(data)


def read(image: str, files: Mapping[str, Path]) -> Secrets:
    """The values in these files. Raises SecretUnknown."""
    return Secrets({name: _value(image, name, path) for name, path in files.items()})


def _value(image: str, name: str, path: Path) -> bytes:
    try:
        value = path.read_bytes().strip()
    except OSError as error:
        raise SecretUnknown(image, "secrets", name, f"{path}: {error.strerror}") from error
    if len(value) < SHORTEST:
        raise SecretUnknown(image, "secrets", name, f"{path} has fewer than {SHORTEST} bytes, too few to be looked for")
    return value
