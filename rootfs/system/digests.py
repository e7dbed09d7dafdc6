"""Digests: sha256 of bytes, files and values (as canonical JSON), and BLAKE3 of cache entries.

Caches use BLAKE3: they are read most often, and sha256 takes three times as long even with the processor's
instructions for it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3

# Bytes of a file that are read at once: after each chunk other threads of Python may run, for 5 ms if they are busy.
CHUNK = 16 << 20


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """Canonical JSON: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def canonical_digest(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    """`sha256:HEX` of a value, as canonical JSON."""
    return digest_of_bytes(canonical_json(value))


def digest_of_bytes(data: bytes) -> str:
    """`sha256:HEX` of bytes."""
    return f"sha256:{sha256_of_bytes(data)}"


def sha256_of_bytes(data: bytes) -> str:
    """The sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    return _read(path, hashlib.sha256())


def blake3_of_bytes(data: bytes | bytearray) -> str:
    """The BLAKE3 of bytes, in hex."""
    return blake3(data).hexdigest()


def blake3_of_file(path: Path) -> str:
    """The BLAKE3 of a file's bytes, in hex."""
    return _read(path, blake3())


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> object:
        """Add bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


def _read(path: Path, digest: _Digest) -> str:
    """The digest of a file in hex, computed with a new hash object."""
    buffer = bytearray(min(CHUNK, path.stat().st_size + 1))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
    return digest.hexdigest()
