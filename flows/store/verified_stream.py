"""Streams that check the digest of the bytes that are read from them."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from rootfs.errors import BaseforgeError

CHUNK = 1 << 20

Read = Callable[[int], bytes]


class VerifiedStream(io.RawIOBase):
    """A stream that raises an error at its end if the bytes do not have the digest.

    `read` returns at most the given number of bytes of the source, none at its end. `wrong` makes the error, given
    what was found.
    """

    def __init__(self, read: Read, digest: str, wrong: Callable[[str], BaseforgeError]) -> None:
        self._read, self._digest, self._wrong = read, digest, wrong
        self._hash, self.size = hashlib.sha256(), 0  # of the bytes so far

    def readable(self) -> bool:  # noqa: D102 - as in io
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102 - as in io
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Read the rest, even if the stream was closed, so that every byte is checked."""
        while self._take(CHUNK):
            pass

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        self._hash.update(data)
        self.size += len(data)
        if not data:
            self._check()
        return data

    def _check(self) -> None:
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._digest:
            raise self._wrong(f"{found} ({self.size} bytes)")


@contextlib.contextmanager
def verified(read: Read, digest: str, wrong: Callable[[str], BaseforgeError]) -> Iterator[BinaryIO]:
    """A buffered stream of the source. The end of the block reads and checks the rest.

    If a reader fails because of wrong bytes, the error for the wrong bytes is raised instead of its own.
    """
    source = VerifiedStream(read, digest, wrong)
    try:
        yield io.BufferedReader(source, CHUNK)
    except BaseforgeError:
        raise
    except Exception:
        source.finish()
        raise
    source.finish()


class Sink(Protocol):
    """Bytes can be written to it."""

    def write(self, data: bytes, /) -> object:
        """Take all of the bytes."""


def copy_and_hash(source: BinaryIO, sink: Sink) -> str:
    """Copy a stream to its end and return the digest of its bytes."""
    seen = hashlib.sha256()
    while chunk := source.read(CHUNK):
        seen.update(chunk)
        sink.write(chunk)
    return f"sha256:{seen.hexdigest()}"
