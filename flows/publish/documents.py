"""Read the JSON documents of a store into their models. The error for a damaged document names it."""

from __future__ import annotations

import contextlib
import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flows.publish.errors import RecordDamaged, RecordNewer
from flows.publish.record import FORMAT
from flows.store.errors import Conflict
from flows.store.store import Store, StoredDocument
from rootfs.system import document_format

Model = TypeVar("Model", bound=BaseModel)


def read(store: Store, key: str, model: type[Model]) -> Model | None:
    """The document with this key; None if there is none.

    Raises RecordDamaged if it is cut off or has wrong types, and RecordNewer, a subclass.
    """
    document = store.read_document(key)
    if document is None:
        return None
    return parse(store.address, key, document.data, model)


def parse(address: str, key: str, data: bytes, model: type[Model]) -> Model:
    """The document's content as a model. Raises RecordDamaged and RecordNewer."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        refuse_newer(address, key, data)
        raise RecordDamaged(address, key, _first(error)) from error


def parse_if_valid(store: Store, key: str, document: StoredDocument | None, model: type[Model]) -> Model | None:
    """The content of a document that may be replaced; None also if it is damaged. Raises RecordNewer."""
    try:
        return parse(store.address, key, document.data, model) if document else None
    except RecordNewer:
        raise
    except RecordDamaged:
        return None


def write(store: Store, key: str, data: bytes, before: StoredDocument | None) -> bool:
    """Write a document unless it has changed since it was read as `before`; returns whether it was written."""
    try:
        if before:
            store.replace_document(key, data, before.version)
        else:
            store.create_document(key, data)
    except Conflict:
        return False
    return True


def refuse_newer(address: str, key: str, data: bytes) -> None:
    """Raises RecordNewer if the document has a newer format than this version knows."""
    with contextlib.suppress(ValueError, RecursionError):
        if found := document_format.newer(json.loads(data), FORMAT):
            raise RecordNewer(address, key, found, FORMAT)


def _first(error: ValidationError) -> str:
    """The first problem, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
