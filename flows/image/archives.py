"""Image archives: the streams that engines load, and the files that `export` writes.

A docker-archive (`manifest.json`, moby's image/spec/v1.2) holds the plain tar and is read by every engine; an OCI
archive is the layout as a tar. The exported file is both at once, as `docker save` writes it since Docker 25, so that
each program finds the one it knows: engines before 23 cannot read zstd layers, and only a layout keeps the manifest's
digest.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from flows.image.errors import LayerDamaged
from flows.image.oci import LAYOUT_FILE, Image, layout_index
from rootfs.layer.pack import Layer
from rootfs.system.decompression import CorruptStream, DecompressedStream
from rootfs.system.platforms import platform_of

CHUNK = 1 << 20


class BlobSource(Protocol):
    """Blobs by digest: an image's layout, or a store."""

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open the blob as a stream."""


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive: its name, its length in bytes and its content in chunks."""

    name: str
    size: int
    content: Iterable[bytes]


def docker_archive(image: Image) -> Iterator[bytes]:
    """The image as a docker-archive without a name, in chunks, with uncompressed layers. Raises LayerDamaged."""
    yield from tar_archive(*_docker_entries(image), *map(partial(_plain_entry, image), image.layers))


def docker_archive_of_layer(image: Image) -> Iterator[bytes]:
    """The same with the highest layer only, for an engine that has the base image's layers."""
    yield from tar_archive(*_docker_entries(image), _plain_entry(image, image.layer))


def _plain_entry(image: Image, layer: Layer) -> ArchiveFile:
    return ArchiveFile(blob_name(layer.diff_id), layer.unpacked, uncompressed_layer(image, layer.digest, layer.diff_id))


def _docker_entries(image: Image) -> Iterator[ArchiveFile]:
    config = read_blob(image, image.config_digest)
    plain = [blob_name(layer.diff_id) for layer in image.layers]
    listing = docker_manifest(image.config_digest, plain, name=None)
    yield ArchiveFile("manifest.json", len(listing), [listing])
    yield ArchiveFile(blob_name(image.config_digest), len(config), [config])


def oci_archive(image: Image) -> Iterator[bytes]:
    """The image as an OCI archive without a name, in chunks, with compressed layers."""
    manifest = read_blob(image, image.manifest_digest)
    config = read_blob(image, image.config_digest)
    contents = layout_index(manifest, platform_of(image.architecture), {})
    yield from tar_archive(
        ArchiveFile("oci-layout", len(LAYOUT_FILE), [LAYOUT_FILE]),
        ArchiveFile("index.json", len(contents), [contents]),
        ArchiveFile(blob_name(image.manifest_digest), len(manifest), [manifest]),
        ArchiveFile(blob_name(image.config_digest), len(config), [config]),
        *(
            ArchiveFile(blob_name(layer.digest), layer.size, compressed_layer(image, layer.digest))
            for layer in image.layers
        ),
    )


def tar_archive(*entries: ArchiveFile) -> Iterator[bytes]:
    """A tar of the entries, in chunks."""
    for entry in entries:
        yield tar_header(entry.name, entry.size)
        yield from entry.content
        yield tar_padding(entry.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def tar_header(name: str, size: int) -> bytes:
    """A tar header block that is the same every day and for every user. GNU's format allows sizes over 8 GiB."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_padding(size: int) -> bytes:
    """The zeros that fill a file's last block."""
    return bytes(-size % tarfile.BLOCKSIZE)


def blob_name(digest: str) -> str:
    """The path of a blob inside a layout."""
    return f"blobs/{digest.replace(':', '/')}"


def docker_manifest(config_digest: str, layers: Sequence[str], *, name: str | None) -> bytes:
    """The manifest.json of a docker-archive: `layers` are the names of its uncompressed tars."""
    listed = {"Config": blob_name(config_digest), "RepoTags": [name] if name else None, "Layers": list(layers)}
    return json.dumps([listed]).encode()


def read_blob(blobs: BlobSource, digest: str) -> bytes:
    """Read a small blob, such as a manifest."""
    with blobs.open_blob(digest) as stream:
        return stream.read()


def compressed_layer(blobs: BlobSource, digest: str) -> Iterator[bytes]:
    """A layer's compressed bytes, in chunks."""
    with blobs.open_blob(digest) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def uncompressed_layer(blobs: BlobSource, digest: str, diff_id: str) -> Iterator[bytes]:
    """A layer's uncompressed tar, in chunks. Raises LayerDamaged, at the end if the tar does not have the diff id.

    zstd reports no error for a truncated stream, so the digest is checked.
    """
    hasher = hashlib.sha256()
    with blobs.open_blob(digest) as stream:
        for chunk in _decompress(stream, digest):
            hasher.update(chunk)
            yield chunk
    if diff_id != f"sha256:{hasher.hexdigest()}":
        raise LayerDamaged(digest, f"its tar has sha256:{hasher.hexdigest()}, not {diff_id}")


def uncompressed_file(layer: Path) -> Iterator[bytes]:
    """The uncompressed tar of a layer's file, in chunks. Raises LayerDamaged."""
    with layer.open("rb") as file:
        yield from _decompress(file, layer.name)


def _decompress(stream: BinaryIO, name: str) -> Iterator[bytes]:
    decompressed = DecompressedStream(stream)
    try:
        while chunk := decompressed.read(CHUNK):
            yield chunk
    except CorruptStream as error:
        raise LayerDamaged(name, str(error)) from error
