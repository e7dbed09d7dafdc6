"""What the store says of builds: which one has these inputs, which an image has, and a new one, written last."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from flows.image.oci import Image, blob_path
from flows.image.several import Index
from flows.publish.record import Record
from flows.store import Store
from rootfs.digests import canonical
from rootfs.errors import BuildMissing, ImageMissing, nearest


def _inputs_key(digest: str) -> str:
    return f"inputs/{digest.removeprefix('sha256:')}.json"


def known(store: Store, input_digest: str) -> Record | None:
    """The build that was made of these inputs; None also where its record never came (a crash in between)."""
    document = store.read_document(_inputs_key(input_digest))
    if document is None:
        return None
    entry = json.loads(document.data)
    return _read(store, f"images/{entry['image']}/builds/{entry['build']}.json")


def _read(store: Store, key: str) -> Record | None:
    document = store.read_document(key)
    return Record.model_validate_json(document.data) if document else None


def images(store: Store) -> list[str]:
    """The names of all images in the store, sorted."""
    return sorted({key.split("/")[1] for key in store.list_documents("images")})


def latest(store: Store, image: str) -> Record | None:
    """An image's newest build."""
    keys = store.list_documents(f"images/{image}/builds")
    return _read(store, keys[-1]) if keys else None


def build_of(store: Store, reference: str) -> Record:
    """The build that `IMAGE` (its newest) or `IMAGE@BUILD` (the start of its id is enough) means.

    Raises ImageMissing with the nearest name, BuildMissing.
    """
    image, _, build = reference.partition("@")
    names = images(store)
    keys = store.list_documents(f"images/{image}/builds") if image in names else []
    if not keys:
        raise ImageMissing(image, nearest(image, names))
    matching = [key for key in keys if key.rsplit("/", 1)[1].startswith(build)]
    record = _read(store, matching[-1]) if matching else None
    if record is None:
        raise BuildMissing(image, build)
    return record


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


def keep_record(store: Store, record: Record) -> None:
    """Make the build visible: its inputs, then its record, after which it is published."""
    key = _inputs_key(record.input_digest)
    entry = canonical({"image": record.image, "build": record.build})
    if before := store.read_document(key):
        store.replace_document(key, entry, before.version)
    else:
        store.create_document(key, entry)
    store.create_document(record.key, record.model_dump_json(indent=2).encode() + b"\n")
