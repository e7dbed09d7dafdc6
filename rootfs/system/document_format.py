"""The format version of documents that outlive the command that writes them.

Such a document is a JSON object with the key `format`. Without the key it has the first format: it was written before
there were versions. A document with a newer format than this program knows is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rootfs.system.errors import FormatNewer

FIELD, FIRST = "format", 1


def dump(value: Mapping[str, Any]) -> bytes:
    """The document as JSON, with its format version."""
    return json.dumps({FIELD: FIRST, **value}).encode()


def parse(data: bytes | str, what: str, where: object, known: int = FIRST) -> dict[str, Any]:
    """The content of a document, without its format version.

    `what` and `where` name it in an error. Raises FormatNewer, and ValueError for what is no such document.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    if found := newer(value, known):
        raise FormatNewer(what, str(where), found, known)
    return {key: each for key, each in value.items() if key != FIELD}


def newer(value: object, known: int = FIRST) -> int:
    """The format version of a parsed document if it is newer than `known`; else 0."""
    found = value.get(FIELD) if isinstance(value, dict) else None
    return found if isinstance(found, int) and found > known else 0
