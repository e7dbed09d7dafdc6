"""Check that the store has every blob that a build's record names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from flows.publish.record import Record
from flows.store.blobs import is_intact
from flows.store.errors import InvalidKey
from flows.store.store import Store
from rootfs.errors import BaseforgeError, BlobDamaged, BlobMissing


def is_complete(store: Store, record: Record) -> bool:
    """Whether the store has every blob of the build. Layers are not read, only their lengths are compared."""
    return not find_damage(store, record)


def require_blobs(store: Store, record: Record) -> None:
    """Check the blobs of a record before it is written. Raises BlobMissing, BlobDamaged."""
    for problem in find_damage(store, record):
        raise problem


def find_damage(store: Store, record: Record, *, read: bool = False) -> list[BaseforgeError]:
    """The blobs of a build that are missing or damaged: an error for each, BlobMissing or BlobDamaged.

    Small blobs (index, manifests, configs, inventory, recipe, log) are always read. A layer's length is compared with
    its manifest, as reading the layers of all images takes minutes; with `read` layers are read, too. The debs of the
    lock are not checked here: each build checks those that it uses, and replaces damaged ones.
    """
    look = _Look(store)
    for part in record.parts or (record,):
        look.image(part.manifest_digest)
        look.small(part.inventory)
    for digest in (record.index, record.ingredients, record.log):
        look.small(digest)
    for digest, size in look.layers.items():
        look.layer(digest, size, read)
    return look.found


@dataclass(frozen=True)
class _Look:
    """The problems found with the blobs of one build, and the lengths of its layers."""

    store: Store
    found: list[BaseforgeError] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)

    def small(self, digest: str) -> bytes:
        """Read a blob; empty if it is missing or damaged, or if the record names none."""
        if not digest:
            return b""
        try:
            with self.store.open_blob(digest) as blob:
                return blob.read()
        except (BlobMissing, BlobDamaged, InvalidKey) as problem:
            self.found.append(problem)
            return b""

    def image(self, manifest_digest: str) -> None:
        """Read a manifest and its config, and note its layers."""
        if not (data := self.small(manifest_digest)):
            return
        try:
            manifest = json.loads(data)
            config, layers = manifest["config"]["digest"], {each["digest"]: each["size"] for each in manifest["layers"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            self.found.append(BlobDamaged(self.store.address, manifest_digest, "no manifest"))
            return
        self.small(config)
        self.layers.update(layers)

    def layer(self, digest: str, size: int, read: bool) -> None:
        """Compare a layer's length, and with `read` its digest."""
        if is_intact(self.store, digest, size, read=read):
            return
        if not self.store.has_blob(digest):
            self.found.append(BlobMissing(self.store.address, digest))
            return
        length = self.store.blob_size(digest)
        found = f"{length} bytes, not {size}" if length != size else "other bytes"
        self.found.append(BlobDamaged(self.store.address, digest, found))
