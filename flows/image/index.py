"""Image indexes: one name for the images of several platforms (OCI image-spec, image-index.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.image.oci import (
    INDEX_TYPE,
    LAYOUT_FILE,
    MANIFEST_TYPE,
    Image,
    annotations_of,
    blob_path,
    encoded,
    with_annotations,
)
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import platform_of

CREATED = "org.opencontainers.image.created"


@dataclass(frozen=True)
class Index:
    """The images of one name in one OCI layout. `size` is the bytes of all images and of the index."""

    name: str
    layout: Path
    manifest_digest: str
    size: int


@dataclass(frozen=True)
class IndexEntry:
    """What an index says of an image, and the annotations of the image's manifest."""

    descriptor: Mapping[str, Any]
    annotations: Mapping[str, str]


def index_entry(image: Image) -> IndexEntry:
    """An image as an index lists it."""
    size = blob_path(image.layout, image.manifest_digest).stat().st_size
    listed = {"mediaType": MANIFEST_TYPE, "digest": image.manifest_digest, "size": size}
    return IndexEntry({**listed, "platform": platform_of(image.architecture)}, annotations_of(image))


def index_of(entries: Sequence[IndexEntry]) -> bytes:
    """The index of these images, in this order, encoded like a manifest.

    It has the annotations that are the same in all images, and the newest time of creation.
    """
    shared = set.intersection(*(set(each.annotations.items()) for each in entries))
    newest = max(each.annotations.get(CREATED, "") for each in entries)
    annotations = {**dict(shared), **({CREATED: newest} if newest else {})}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [dict(each.descriptor) for each in entries]}
    return encoded(index | with_annotations(annotations), indent=2)


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
    index, name = index or index_of([index_entry(each) for each in images]), images[0].name
    blob_path(folder, digest_of_bytes(index)).write_bytes(index)
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    (folder / "index.json").write_bytes(outer_index(index, {"org.opencontainers.image.ref.name": name}))
    return Index(name, folder, digest_of_bytes(index), len(index) + sum(image.size for image in images))
