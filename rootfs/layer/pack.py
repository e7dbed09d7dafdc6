"""Pack the members of a tree as one layer: write, hash and compress a deterministic tar in one pass."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from rootfs.layer.compress import FrameCache, compress_chunks
from rootfs.system.disk import disk_full
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Members
from rootfs.tree.tar_writer import tar_chunks

FRAME = 4 << 20  # bytes of a ready tar that are compressed at once

Chunk = TypeVar("Chunk", bytes, bytearray)


@dataclass(frozen=True)
class Layer:
    """One layer: the zstd-compressed tar of a tree.

    `digest` is the sha256 of the compressed bytes, `diff_id` that of the tar, both as `sha256:HEX`; `size` and
    `unpacked` are their lengths in bytes.
    """

    path: Path
    digest: str
    diff_id: str
    size: int
    unpacked: int


def pack(members: Members, path: Path, *, frame_cache: Path | None = None) -> Layer:
    """Write the members as a layer to `path`; when this fails, no file stays there.

    `frame_cache` is a folder of compressed frames, shared by all builds: the bytes are the same with it and without.
    Raises DiskFull, BadTree where the members are inconsistent, and whatever the members' source raises.
    """
    try:
        return _written(tar_chunks(members), path, frame_cache)
    except tarfile.TarError as error:  # raised by the content of a member that is read from a tar
        raise BadTree(f"the tar of the tree cannot be read: {error}") from error


def pack_tar(tar: Path, path: Path, *, frame_cache: Path | None = None) -> Layer:
    """Write a plain tar as a layer to `path`, the tar as it is; `frame_cache` as for `pack`. Raises DiskFull."""
    with tar.open("rb") as file:
        return _written(map(bytearray, iter(partial(file.read, FRAME), b"")), path, frame_cache)


def _written(chunks: Iterable[bytearray], path: Path, frame_cache: Path | None) -> Layer:
    cache = FrameCache(frame_cache) if frame_cache else None
    tar, packed = _Hashed(), _Hashed()
    with disk_full(path.parent), _removed_on_failure(path), path.open("wb") as file:
        for frame in packed.through(compress_chunks(tar.through(chunks), cache)):
            file.write(frame)
    if cache:
        cache.prune()
    return Layer(path, packed.digest, tar.digest, packed.size, tar.size)


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Hashed:
    """Hashes and counts the bytes that pass through it."""

    def __init__(self) -> None:
        self._hash, self.size = hashlib.sha256(), 0

    def through(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same chunks; afterwards digest and size are those of all of them."""
        for chunk in chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk
            del chunk

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
