"""Digests of values, sha256 of canonical JSON, the first links of the chain of digests; and of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

# Bytes of a file at once: after each piece Python's other threads have a turn, of 5 ms where they are busy.
CHUNK = 16 << 20


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """Canonical JSON: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    """`sha256:HEX` of a value's canonical JSON."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    digest, buffer = hashlib.sha256(), bytearray(min(CHUNK, path.stat().st_size + 1))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
    return digest.hexdigest()
