"""Compress tar chunks to zstd frames in parallel, reusing cached frames.

The frames one after another are one zstd stream (RFC 8878, 3). The compressed bytes depend only on the plain bytes and
on zstd's version: neither the number of threads nor the cache changes them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import zstandard

from rootfs.system.atomic_file import write_file
from rootfs.system.cache import prune
from rootfs.system.digests import blake3_of_bytes
from rootfs.system.errors import DiskFull

LEVEL = 7  # measured on a minbase tree: 1 % larger than 9 in two thirds of its time; 7 % smaller than 3
WINDOW = 23  # as power of two: large enough to find every repetition inside a frame
WORKERS = min(4, len(os.sched_getaffinity(0)))  # each needs some 30 MB for its tables, and one chunk

FOLDER = "frames"  # of a cache
CACHE_LIMIT = 1 << 30  # bytes of compressed frames that stay in the cache
CHECK = len(blake3_of_bytes(b""))


class FrameCache:
    """A cache of compressed frames in a folder, by the digest of their plain bytes. Failures here are no errors.

    A file is the digest of the frame and then the frame: one that is damaged or cut off is made again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, plain: str) -> bytes | None:
        """The compressed frame for the digest of its plain bytes, or None; marks it as used now."""
        path = self._path(plain)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        frame = data[CHECK:]
        return frame if blake3_of_bytes(frame).encode() == data[:CHECK] else None

    def put(self, plain: str, frame: bytes) -> None:
        """Store a frame. Concurrent readers find all of it or nothing."""
        path = self._path(plain)
        with contextlib.suppress(OSError, DiskFull):
            write_file(path, blake3_of_bytes(frame).encode(), frame)

    def prune(self, limit: int = CACHE_LIMIT) -> None:
        """Remove the least recently used frames until at most `limit` bytes are left."""
        prune(self._folder, max_bytes=limit)

    def _path(self, plain: str) -> Path:
        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        return self._folder / f"{plain}-{version}-{LEVEL}-{WINDOW}"


def compress_chunks(frames: Iterable[bytearray], cache: FrameCache | None = None) -> Iterator[bytes]:
    """Compress the chunks, in their order; only a few are in memory at any time.

    Raises what the source of the chunks raises, after the chunks before it are done.
    """
    compressor = FrameCompressor(cache)
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(WORKERS, "compress") as pool:
        for frame in frames:
            waiting.append(pool.submit(compressor, frame))
            del frame  # only the worker holds it
            while len(waiting) > WORKERS or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class FrameCompressor:
    """Compresses one chunk. Each thread reuses its compressor, as making one costs 10 ms."""

    def __init__(self, cache: FrameCache | None) -> None:
        self._cache, self._own = cache, threading.local()

    def __call__(self, frame: bytearray) -> bytes:
        """The chunk as a zstd frame, from the cache or compressed and stored there now."""
        if self._cache is None:
            return self._compress(frame)
        plain = blake3_of_bytes(frame)
        if (known := self._cache.get(plain)) is None:
            known = self._compress(frame)
            self._cache.put(plain, known)
        return known

    def _compress(self, frame: bytearray) -> bytes:
        if not hasattr(self._own, "compressor"):
            parameters = zstandard.ZstdCompressionParameters.from_level(
                LEVEL, window_log=WINDOW, write_checksum=True, write_content_size=True
            )
            self._own.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        compressed: bytes = self._own.compressor.compress(frame)
        return compressed
