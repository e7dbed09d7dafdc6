"""Digests of values, sha256 of canonical JSON, the first links of the chain of digests; and of files.

What only we keep, and could make again, is known by its BLAKE3: it is read more often than anything else, and a sha256
takes three times as long even where the processor has instructions for it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3

# Bytes of a file at once: after each piece Python's other threads have a turn, of 5 ms where they are busy.
CHUNK = 16 << 20


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """Canonical JSON: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def canonical_digest(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    """`sha256:HEX` of a value's canonical JSON."""
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
        """Some bytes more."""

    def hexdigest(self) -> str:
        """The digest of all so far."""


def _read(path: Path, digest: _Digest) -> str:
    """The digest, which is new, of a file's bytes, in hex."""
    buffer = bytearray(min(CHUNK, path.stat().st_size + 1))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
    return digest.hexdigest()
