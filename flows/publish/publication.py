"""Builds in the store: which one has these inputs, which one is an image's newest, and how a new one is published."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from flows.image.archive import read_blob
from flows.image.oci import Image, blob_path
from flows.image.several import Index
from flows.publish import newest
from flows.publish.record import Record, key_of
from flows.store import Store
from flows.store.names import is_plain
from rootfs.digests import canonical
from rootfs.errors import BlobDamaged, BlobMissing, BuildMissing, Conflict, ImageMissing, nearest


def _inputs_key(digest: str) -> str:
    return f"inputs/{digest.removeprefix('sha256:')}.json"


def known(store: Store, input_digest: str) -> Record | None:
    """The build that was made of these inputs; None also where its record never came (a crash in between)."""
    document = store.read_document(_inputs_key(input_digest))
    if document is None:
        return None
    entry = json.loads(document.data)
    return _read(store, key_of(entry["image"], entry["build"]))


def is_whole(store: Store, record: Record) -> bool:
    """Whether the store has every blob that a record names, and those of its images with the length they must have."""
    if record.index and not store.has_blob(record.index):
        return False
    return all(_is_whole(store, part) for part in record.parts or (record,)) and _has(store, record.log)


def _is_whole(store: Store, part: Record) -> bool:
    try:
        manifest = json.loads(read_blob(store, part.manifest_digest))
        blobs = (manifest["config"], *manifest["layers"])
        sizes = all(store.blob_size(blob["digest"]) == blob["size"] for blob in blobs)
    except (BlobMissing, BlobDamaged):
        return False
    return sizes and _has(store, part.inventory, part.ingredients)


def _has(store: Store, *digests: str) -> bool:
    return all(store.has_blob(digest) for digest in digests if digest)


def _read(store: Store, key: str) -> Record | None:
    document = store.read_document(key)
    return Record.model_validate_json(document.data) if document else None


def images(store: Store) -> list[str]:
    """The names of all images in the store, sorted."""
    return store.list_folders("images")


def latest(store: Store, image: str) -> Record | None:
    """An image's newest build, as its document says.

    A store of an earlier version has no such document, and it may be lost or damaged: then all records are read.
    """
    pointed = newest.read(store, image)
    return (pointed and _read(store, key_of(image, pointed.build))) or _last(store, image)


def _last(store: Store, image: str) -> Record | None:
    """The build with the greatest number; builds of an earlier version have none, and are ordered by their ids."""
    records = filter(None, (_read(store, key) for key in _builds(store, image)))
    return max(records, key=lambda record: (record.number, record.build), default=None)


def next_number(store: Store, image: str) -> int:
    """The counter's next value, for a build that is about to be published."""
    if pointed := newest.read(store, image):
        return pointed.number + 1
    last = _last(store, image)
    return last.number + 1 if last else 1


def build_of(store: Store, reference: str) -> Record:
    """The build that `IMAGE` (its newest) or `IMAGE@BUILD` (the start of its id is enough) means.

    Raises ImageMissing with the nearest name, BuildMissing.
    """
    image, _, build = reference.partition("@")
    if not is_plain(image):
        raise ImageMissing(image, nearest(image, images(store)))
    if not build:
        if record := latest(store, image):
            return record
        raise ImageMissing(image, nearest(image, images(store)))
    keys = _builds(store, image)
    if not keys:
        raise ImageMissing(image, nearest(image, images(store)))
    matching = [key for key in keys if key.rsplit("/", 1)[1].startswith(build)]
    record = _read(store, matching[-1]) if matching else None
    if record is None:
        raise BuildMissing(image, build)
    return record


def _builds(store: Store, image: str) -> list[str]:
    return store.list_documents(f"images/{image}/builds")


def keep_blobs(store: Store, made: Image) -> None:
    """Keep all that the image is made of. Nothing names it yet."""
    for layer in made.layers:
        store.put_blob(layer.path, layer.digest)
    for digest in (made.config_digest, made.manifest_digest):
        store.put_blob(blob_path(made.layout, digest), digest)


def keep_index(store: Store, made: Index) -> None:
    """Keep the index over images that are kept."""
    store.put_blob(blob_path(made.layout, made.manifest_digest), made.manifest_digest)


def keep_bytes(store: Store, data: bytes) -> str:
    """Keep a small report as a blob; its digest."""
    return store.put_blob(BytesIO(data))


def keep_log(store: Store, log: Path) -> str:
    """Keep a run's log as a blob; its digest."""
    return store.put_blob(log)


def keep_record(store: Store, record: Record) -> Record:
    """Keep a build's record, and then note which inputs it has; from here on it can be shown and named.

    Returns what is kept: a step that is tried again finds the record that its first attempt has written.
    """
    try:
        store.create_document(record.key, record.model_dump_json(indent=2).encode() + b"\n")
    except Conflict:
        if (kept := _read(store, record.key)) is None or kept.input_digest != record.input_digest:
            raise
        record = kept
    _note_inputs(store, record)
    return record


def _note_inputs(store: Store, record: Record) -> None:
    """The last build with these inputs counts."""
    key = _inputs_key(record.input_digest)
    entry = canonical({"image": record.image, "build": record.build})
    if (before := store.read_document(key)) is None:
        store.create_document(key, entry)
    elif before.data != entry:
        store.replace_document(key, entry, before.version)


def publish(store: Store, record: Record, why: str) -> Record:
    """Keep a build's record, and let `latest` mean it: the commit point of its publication. Returns what is kept."""
    kept = keep_record(store, record)
    newest.move(store, kept.image, kept.build, why, least=kept.number)
    return kept
