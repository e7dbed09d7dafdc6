"""The JSON documents of a store, read into their models. One that is damaged is an error that names it."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flows.publish.errors import RecordDamaged, RecordNewer
from flows.publish.record import FORMAT
from flows.store import Store

Model = TypeVar("Model", bound=BaseModel)


def read(store: Store, key: str, model: type[Model]) -> Model | None:
    """The document with this key; None where there is none.

    Raises RecordDamaged where it is cut off or has wrong types, and RecordNewer, which is one of these.
    """
    document = store.read_document(key)
    if document is None:
        return None
    return parse(store.address, key, document.data, model)


def parse(address: str, key: str, data: bytes, model: type[Model]) -> Model:
    """The content of the document as its model. Raises RecordDamaged and RecordNewer."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        if found := _newer(data):
            raise RecordNewer(address, key, found, FORMAT) from error
        raise RecordDamaged(address, key, _first(error)) from error


def _newer(data: bytes) -> int:
    """The format of a document, where it is one that this version does not know; else 0."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    found = said.get("format") if isinstance(said, dict) else None
    return found if isinstance(found, int) and found > FORMAT else 0


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
