"""Image indexes: one name for the images of several platforms (OCI image-spec, image-index.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.image.oci import INDEX_TYPE, LAYOUT_FILE, MANIFEST_TYPE, Image, blob_path, encoded
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import platform_of


@dataclass(frozen=True)
class Index:
    """The images of one name in one OCI layout. `size` is the bytes of all images and of the index."""

    name: str
    layout: Path
    manifest_digest: str
    size: int


def descriptor(image: Image) -> dict[str, Any]:
    """The descriptor of an image in an index."""
    size = blob_path(image.layout, image.manifest_digest).stat().st_size
    entry = {"mediaType": MANIFEST_TYPE, "digest": image.manifest_digest, "size": size}
    return {**entry, "platform": platform_of(image.architecture)}


def index_of(descriptors: Iterable[dict[str, Any]]) -> bytes:
    """The index of these manifests, in this order, encoded like a manifest."""
    return encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(descriptors)}, indent=2)


def outer_index(index: bytes, annotations: dict[str, str]) -> bytes:
    """The index.json of a layout that holds an image index."""
    entry = {"mediaType": INDEX_TYPE, "digest": digest_of_bytes(index), "size": len(index), "annotations": annotations}
    return encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]})


def combine_images(images: Sequence[Image], folder: Path, index: bytes | None = None) -> Index:
    """Write one layout with all images to an empty `folder`, as hard links: it must be on the same file system.

    Without an `index`, one is made.
    """
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (path for image in images for path in (image.layout / "blobs/sha256").iterdir()):
        if not (blobs / blob.name).exists():
            (blobs / blob.name).hardlink_to(blob)
    index, name = index or index_of(map(descriptor, images)), images[0].name
    blob_path(folder, digest_of_bytes(index)).write_bytes(index)
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    (folder / "index.json").write_bytes(outer_index(index, {"org.opencontainers.image.ref.name": name}))
    return Index(name, folder, digest_of_bytes(index), len(index) + sum(image.size for image in images))
