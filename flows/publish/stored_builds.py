"""Builds in the store: find one by its inputs or its name, find an image's newest one, publish a new one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from io import BytesIO

from pydantic import BaseModel

from flows.image.archives import read_blob
from flows.image.index import Index
from flows.image.oci import Image, blob_path
from flows.publish import documents, integrity, newest
from flows.publish.errors import RecordDamaged, RecordNewer, no_build, no_image
from flows.publish.record import FORMAT, Format, Record, StoreName, key_of
from flows.store.errors import Conflict, InvalidKey
from flows.store.keys import is_valid_name
from flows.store.store import Store
from rootfs.errors import nearest
from rootfs.system.digests import canonical_json


class _Entry(BaseModel):
    """Which build was made of some inputs."""

    format: Format = FORMAT
    image: StoreName
    build: StoreName


def _inputs_key(digest: str) -> str:
    return f"inputs/{digest.removeprefix('sha256:')}.json"


def find_by_inputs(store: Store, input_digest: str) -> Record | None:
    """The build that was made of these inputs.

    None also if its record is missing (after a crash), cannot be read or has other inputs: the image is built again
    then. Raises RecordNewer.
    """
    try:
        entry = documents.read(store, _inputs_key(input_digest), _Entry)
        record = _read(store, key_of(entry.image, entry.build)) if entry else None
    except RecordNewer:
        raise
    except RecordDamaged:
        return None
    return record if record and record.input_digest == input_digest else None


def _read(store: Store, key: str) -> Record | None:
    """The record with this key. Raises RecordDamaged, also if it is the record of another build."""
    try:
        record = documents.read(store, key, Record)
    except InvalidKey as error:
        raise RecordDamaged(store.address, key, error.message) from None
    if record and record.key != key:
        raise RecordDamaged(store.address, key, f"it is the record of build {record.build!r} of {record.image!r}")
    return record


def images(store: Store) -> list[str]:
    """The names of all images in the store, sorted."""
    return store.list_folders("images")


def newest_builds(store: Store) -> list[Record]:
    """Each image's newest build. If its record cannot be read, the status is `damaged`, with the reason."""
    found = []
    for image in images(store):
        try:
            record = newest_build(store, image)
        except RecordDamaged as problem:
            record = Record(image=image, status="damaged", reason=str(problem), exit_status=problem.status)
        found += [record] if record else []
    return found


def newest_build(store: Store, image: str) -> Record | None:
    """An image's newest build. Raises RecordDamaged if the store does not say which one it is; none is guessed.

    Stores of earlier versions have no document that names it: then all records are read.
    """
    pointed = newest.read(store, image)
    if pointed and (record := _read(store, key_of(image, pointed.build))):
        return record
    found = _greatest(filter(None, (_read(store, key) for key in _builds(store, image))))
    if pointed or (found and found.number > newest.FIRST):
        reason = f"there is no record of build {pointed.build}" if pointed else "it is not there"
        raise RecordDamaged(store.address, newest.newest_key(image), reason)
    return found


def latest_readable(store: Store, image: str) -> Record | None:
    """An image's newest build with a readable record. The next build follows it."""
    try:
        return newest_build(store, image)
    except RecordDamaged:
        return _last(store, image)


def _last(store: Store, image: str) -> Record | None:
    found = []
    for key in _builds(store, image):
        with contextlib.suppress(RecordDamaged):
            found.append(_read(store, key))
    return _greatest(filter(None, found))


def _greatest(records: Iterable[Record]) -> Record | None:
    """The build with the greatest number. Builds of earlier versions have no number and are ordered by their ids."""
    return max(records, key=lambda record: (record.number, record.build), default=None)


def installed_packages(store: Store, record: Record) -> dict[str, dict[str, str]]:
    """The packages of a build's image by platform, as `NAME:ARCHITECTURE` with their versions.

    Raises BlobMissing, BlobDamaged.
    """
    return {
        part.platforms[0]: dict(json.loads(read_blob(store, part.inventory))) if part.inventory else {}
        for part in record.parts or (record,)
    }


def next_number(store: Store, image: str) -> int:
    """The number of the next build that is published."""
    if pointed := newest.read_if_valid(store, image):
        return pointed.number + 1
    last = _last(store, image)
    return last.number + 1 if last else newest.FIRST


def find_build(store: Store, reference: str) -> Record:
    """The build of a reference: `IMAGE` for its newest, or `IMAGE@BUILD` with the id or its beginning.

    Raises InputError, which suggests the nearest name, and RecordDamaged.
    """
    image, _, build = reference.partition("@")
    if not is_valid_name(image):
        raise no_image(image, nearest(image, images(store)))
    if not build:
        if record := newest_build(store, image):
            return record
        raise no_image(image, nearest(image, images(store)))
    keys = _builds(store, image)
    if not keys:
        raise no_image(image, nearest(image, images(store)))
    matching = [key for key in keys if key.rsplit("/", 1)[1].startswith(build)]
    record = _read(store, matching[-1]) if matching else None
    if record is None:
        raise no_build(image, build)
    return record


def build_ids(store: Store, image: str) -> list[str]:
    """The ids of all builds of an image, sorted."""
    return [key.rsplit("/", 1)[1].removesuffix(".json") for key in _builds(store, image)]


def _builds(store: Store, image: str) -> list[str]:
    return store.list_documents(f"images/{image}/builds")


def keep_blobs(store: Store, made: Image) -> None:
    """Keep all blobs of an image. Nothing names them yet.

    A blob that the store already has is read, and replaced if it is damaged. Of the base image's layers, which have
    just been read from the store, only the lengths are compared.
    """
    for layer in made.layers:
        store.put_blob(layer.path, layer.digest, check=layer is made.layer)
    for digest in (made.config_digest, made.manifest_digest):
        store.put_blob(blob_path(made.layout, digest), digest, check=True)


def keep_index(store: Store, made: Index) -> None:
    """Store the index of images whose blobs are in the store."""
    store.put_blob(blob_path(made.layout, made.manifest_digest), made.manifest_digest, check=True)


def keep_bytes(store: Store, data: bytes) -> str:
    """Keep a small report as a blob; returns its digest."""
    return store.put_blob(BytesIO(data), check=True)


def keep_record(store: Store, record: Record) -> Record:
    """Keep a build's record, then the note of its inputs. From then on the build can be shown and named.

    Returns the record in the store: if a step is retried, that is the record of its first attempt. Raises BlobMissing
    or BlobDamaged, and writes nothing, if the store lacks a blob that the record names.
    """
    integrity.require_blobs(store, record)
    try:
        store.create_document(record.key, record.model_dump_json(indent=2).encode() + b"\n")
    except Conflict:
        if (existing := _read(store, record.key)) is None or existing.input_digest != record.input_digest:
            raise
        record = existing
    _note_inputs(store, record)
    return record


def _note_inputs(store: Store, record: Record) -> None:
    """Note the last build with these inputs. If another run writes its own note meanwhile, that one stays."""
    key = _inputs_key(record.input_digest)
    entry = canonical_json(_Entry(image=record.image, build=record.build).model_dump())
    with contextlib.suppress(Conflict):
        if (before := store.read_document(key)) is None:
            store.create_document(key, entry)
        elif before.data != entry:
            documents.refuse_newer(store.address, key, before.data)
            store.replace_document(key, entry, before.version)


def publish_record(store: Store, record: Record, why: str) -> Record:
    """Keep a build's record and make it `latest`: the commit point of a publication. Returns the record kept."""
    stored = keep_record(store, record)
    newest.move_latest(store, stored.image, stored.build, why, least=stored.number)
    return stored
