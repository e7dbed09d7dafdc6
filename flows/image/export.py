"""Export an image to a file: its root file system, or the whole image for any engine."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from flows.image.archives import (
    ArchiveFile,
    BlobSource,
    blob_name,
    compressed_layer,
    docker_manifest,
    read_blob,
    tar_archive,
    tar_header,
    tar_padding,
    uncompressed_layer,
)
from flows.image.index import outer_index
from flows.image.oci import LAYOUT_FILE, layout_index
from rootfs.errors import InputError
from rootfs.layer.compress import compress_chunks
from rootfs.system.atomic_file import atomic_file
from rootfs.system.disk import disk_full
from rootfs.system.errors import cannot_write
from rootfs.system.output_path import check_output_path
from rootfs.tree.merge import members_of, merge_layers
from rootfs.tree.tar_writer import tar_chunks


@dataclass(frozen=True)
class _Parts:
    """An image's manifest and config, and where its blobs are."""

    blobs: BlobSource
    reference: str
    manifest: bytes
    manifest_digest: str
    config: bytes
    index: str = ""

    @property
    def config_digest(self) -> str:
        return str(json.loads(self.manifest)["config"]["digest"])

    @property
    def tag(self) -> str:
        """The tag alone: tools address an image of a layout as FILE:TAG, and their tags have no colon."""
        return self.reference.rpartition(":")[2]

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """The layers' descriptors by diff id, the lowest first."""
        diff_ids = json.loads(self.config)["rootfs"]["diff_ids"]
        return dict(zip(diff_ids, json.loads(self.manifest)["layers"], strict=True))

    def tar(self, diff_id: str) -> Iterator[bytes]:
        """A layer's uncompressed tar, in chunks."""
        return uncompressed_layer(self.blobs, self.layers[diff_id]["digest"], diff_id)

    @contextlib.contextmanager
    def merged(self, beside: Path) -> Iterator[Iterator[bytearray]]:
        """The tar of all layers merged, in chunks, while the block lasts. Its files are in the folder `beside`."""
        with TemporaryDirectory(prefix=".", dir=beside) as folder:
            tars = [Path(folder) / diff_id for diff_id in self.layers]
            for path in tars:
                with path.open("wb") as file:
                    file.writelines(self.tar(path.name))
            with merge_layers(tars) as tree:
                yield tar_chunks(members_of(tree))


def export(blobs: BlobSource, manifest_digest: str, destination: Path, *, reference: str, index: str = "") -> None:
    """Write an image to a file atomically. A file of that name is replaced.

    The ending decides: `.tar.zst` the layer as it is stored, or several merged, `.tar` the same unpacked,
    `.oci.tar` the image, which loads under the name `reference` (`NAME:TAG`); with the digest of the `index`
    that it is in, all images of the index, of which engines that know no index load this one.
    Raises InputError, DiskFull, LayerDamaged and what `open_blob` raises.
    """
    write = _writer(destination)
    check_output_path(destination)
    manifest = read_blob(blobs, manifest_digest)
    config = read_blob(blobs, json.loads(manifest)["config"]["digest"])
    with _whole_file(destination) as file:
        write(_Parts(blobs, reference, manifest, manifest_digest, config, index), file)


def _writer(destination: Path) -> Callable[[_Parts, BinaryIO], None]:
    for ending, writer in ((".oci.tar", _write_image), (".tar.zst", _write_packed), (".tar", _write_tar)):
        if destination.name.endswith(ending):
            return writer
    raise InputError(
        "the file's ending does not say what to export",
        where=str(destination),
        hint="Use .tar.zst (root filesystem, compressed), .tar (plain) or .oci.tar (image, for `docker load`).",
    )


@contextlib.contextmanager
def _whole_file(destination: Path) -> Iterator[BinaryIO]:
    """A temporary file that gets the destination's name at the end of the block, or is removed after an error."""
    with disk_full(destination.parent), atomic_file(destination.parent, partial(_refused, destination)) as new:
        yield new.file
        check_output_path(destination)
        new.commit(destination)


@contextlib.contextmanager
def _refused(destination: Path) -> Iterator[None]:
    try:
        with disk_full(destination.parent):
            yield
    except OSError as error:
        raise cannot_write(destination, error.strerror or str(error)) from error


def _copy(chunks: Iterable[bytes | bytearray], file: BinaryIO) -> int:
    """Write the chunks to the file; returns their length in bytes."""
    return sum(file.write(chunk) for chunk in chunks)


def _write_packed(parts: _Parts, file: BinaryIO) -> None:
    layers = list(parts.layers.values())
    if len(layers) == 1:
        _copy(compressed_layer(parts.blobs, layers[0]["digest"]), file)
        return
    with parts.merged(Path(file.name).parent) as chunks:
        _copy(compress_chunks(chunks), file)


def _write_tar(parts: _Parts, file: BinaryIO) -> None:
    diff_ids = list(parts.layers)
    if len(diff_ids) == 1:
        _copy(parts.tar(diff_ids[0]), file)
        return
    with parts.merged(Path(file.name).parent) as chunks:
        _copy(chunks, file)


def _write_image(parts: _Parts, file: BinaryIO) -> None:
    """Write the uncompressed tars first. The length of each is known afterwards; its header is filled in then."""
    for diff_id in parts.layers:
        start = file.tell()
        file.seek(tarfile.BLOCKSIZE, os.SEEK_CUR)
        size = _copy(parts.tar(diff_id), file)
        file.write(tar_padding(size))
        end = file.tell()
        file.seek(start)
        file.write(tar_header(blob_name(diff_id), size))
        file.seek(end)
    _copy(tar_archive(*_small_entries(parts), *_layer_entries(parts), *_other_entries(parts)), file)


def _layer_entries(parts: _Parts) -> Iterator[ArchiveFile]:
    for layer in parts.layers.values():
        yield ArchiveFile(blob_name(layer["digest"]), layer["size"], compressed_layer(parts.blobs, layer["digest"]))


def _other_entries(parts: _Parts) -> Iterator[ArchiveFile]:
    """The index, and the blobs of its other images."""
    if not parts.index:
        return
    index = read_blob(parts.blobs, parts.index)
    small = {parts.index: index}
    layers: dict[str, int] = {}
    for listed in json.loads(index)["manifests"]:
        if listed["digest"] != parts.manifest_digest:
            manifest = read_blob(parts.blobs, listed["digest"])
            config = json.loads(manifest)["config"]["digest"]
            small |= {listed["digest"]: manifest, config: read_blob(parts.blobs, config)}
            layers |= {layer["digest"]: layer["size"] for layer in json.loads(manifest)["layers"]}
    yield from (ArchiveFile(blob_name(digest), len(data), [data]) for digest, data in small.items())
    for digest in layers.keys() - {layer["digest"] for layer in parts.layers.values()}:
        yield ArchiveFile(blob_name(digest), layers[digest], compressed_layer(parts.blobs, digest))


def _small_entries(parts: _Parts) -> Iterator[ArchiveFile]:
    config = json.loads(parts.config)
    platform = {key: config[key] for key in ("architecture", "os", "variant") if key in config}
    names = {
        "io.containerd.image.name": _with_registry(parts.reference),
        "org.opencontainers.image.ref.name": parts.tag,
    }
    plain = [blob_name(diff_id) for diff_id in json.loads(parts.config)["rootfs"]["diff_ids"]]
    contents = {
        "oci-layout": LAYOUT_FILE,
        "index.json": outer_index(read_blob(parts.blobs, parts.index), names)
        if parts.index
        else layout_index(parts.manifest, platform, names),
        "manifest.json": docker_manifest(parts.config_digest, plain, name=parts.reference),
        blob_name(parts.manifest_digest): parts.manifest,
        blob_name(parts.config_digest): parts.config,
    }
    return (ArchiveFile(name, len(data), [data]) for name, data in contents.items())


def _with_registry(reference: str) -> str:
    """The full form of a name, as containerd needs it (`normalizeImageName` of the reference library)."""
    registry, _, rest = reference.partition("/")
    if rest and ("." in registry or ":" in registry or registry == "localhost"):
        return reference
    return f"docker.io/{reference}" if rest else f"docker.io/library/{reference}"
