"""Frames of a tar to frames of zstd, on every core, and none that is kept from an earlier time a second time.

Each is a complete zstd frame; one behind the other they are one zstd stream (RFC 8878, 3). The bytes are a function of
the plain ones and of zstd's version: neither the number of threads nor what is kept changes them.
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
WINDOW = 23  # as power of two: what a frame repeats is found wherever it stands in it
WORKERS = min(4, len(os.sched_getaffinity(0)))  # each has tables of some 30 MB and a frame in hand

FOLDER = "frames"  # of a cache
CACHE_LIMIT = 1 << 30  # bytes of compressed frames that stay for the next time
CHECK = len(blake3_of_bytes(b""))


class FrameCache:
    """Compressed frames in a folder, by the sum of their plain bytes; a saving, so what goes wrong here is no error.

    A file is the sum of the frame and then the frame: one that was damaged or cut off is made anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, plain: str) -> bytes | None:
        """The frame of these plain bytes, which counts as used now."""
        path = self._path(plain)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        frame = data[CHECK:]
        return frame if blake3_of_bytes(frame).encode() == data[:CHECK] else None

    def put(self, plain: str, frame: bytes) -> None:
        """Keep a frame; whoever reads at the same time finds it whole or not at all."""
        path = self._path(plain)
        with contextlib.suppress(OSError, DiskFull):
            write_file(path, blake3_of_bytes(frame).encode(), frame)

    def prune(self, limit: int = CACHE_LIMIT) -> None:
        """Remove what was not used for longest until `limit` bytes are left."""
        prune(self._folder, max_bytes=limit)

    def _path(self, plain: str) -> Path:
        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        return self._folder / f"{plain}-{version}-{LEVEL}-{WINDOW}"


def compress_chunks(frames: Iterable[bytearray], kept: FrameCache | None = None) -> Iterator[bytes]:
    """The frames compressed, in their order; only a few are in memory at any time.

    Raises what the source of the frames raises, when those before it are done.
    """
    squeezer = FrameCompressor(kept)
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(WORKERS, "squeeze") as pool:
        for frame in frames:
            waiting.append(pool.submit(squeezer, frame))
            del frame  # the worker alone holds it
            while len(waiting) > WORKERS or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class FrameCompressor:
    """Compresses one frame; a thread takes its tables from one frame to the next, as making them costs 10 ms."""

    def __init__(self, kept: FrameCache | None) -> None:
        self._kept, self._own = kept, threading.local()

    def __call__(self, frame: bytearray) -> bytes:
        """The frame compressed: as it is kept, else it is kept now."""
        if self._kept is None:
            return self._compress(frame)
        plain = blake3_of_bytes(frame)
        if (known := self._kept.get(plain)) is None:
            known = self._compress(frame)
            self._kept.put(plain, known)
        return known

    def _compress(self, frame: bytearray) -> bytes:
        if not hasattr(self._own, "compressor"):
            parameters = zstandard.ZstdCompressionParameters.from_level(
                LEVEL, window_log=WINDOW, write_checksum=True, write_content_size=True
            )
            self._own.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        compressed: bytes = self._own.compressor.compress(frame)
        return compressed
