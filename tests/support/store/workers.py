"""What the store suite runs in other threads and processes; a module of its own, as each process imports it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable

from flows.store.errors import Conflict
from flows.store.store import Store

Opener = Callable[[], Store]  # opens the same store again; can be sent to another process

ABSENT = f"sha256:{'0' * 64}"
MUCH = 20 << 20  # bytes: several parts of a multi-part upload


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Endless(io.RawIOBase):
    """A stream without an end, slow once much of it has been read, which it tells."""

    def __init__(self, much: Callable[[], object]) -> None:
        self._seen, self._much = 0, much

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._seen += len(buffer)
        if self._seen > MUCH:
            self._much()
            time.sleep(0.05)
        return len(buffer)


def put(opener: Opener, data: bytes) -> str:
    return opener().put_blob(io.BytesIO(data), digest_of(data))


def create(opener: Opener, key: str, data: bytes) -> bool:
    try:
        opener().create_document(key, data)
    except Conflict:
        return False
    return True


def replace(opener: Opener, key: str, data: bytes, version: str) -> bool:
    try:
        opener().replace_document(key, data, version)
    except Conflict:
        return False
    return True


def count_up(opener: Opener, key: str, times: int) -> None:
    store = opener()
    done = 0
    while done < times:
        now = store.read_document(key)
        assert now
        with contextlib.suppress(Conflict):
            store.replace_document(key, b"%d" % (int(now.data) + 1), now.version)
            done += 1


def put_until_stopped(opener: Opener, much: Callable[[], object]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        opener().put_blob(io.BufferedReader(Endless(much)), ABSENT)
