"""An image's newest attempt: how its last build on a worker ended, also if it failed.

A night's own process reads it: Prefect hands over no results between machines.
"""

from __future__ import annotations

from flows.publish import documents
from flows.publish.record import FORMAT, Format, Frozen, Record, StoreName
from flows.store.errors import Conflict
from flows.store.store import Store
from rootfs.system.digests import canonical_json

TRIES = 20  # attempts of a compare-and-swap before Conflict is raised


class Attempt(Frozen):
    """How the build for a `night` ended."""

    format: Format = FORMAT
    night: StoreName
    record: Record


def attempt_key(image: str) -> str:
    """The key of an image's document in the store."""
    return f"images/{image}/attempt.json"


def write(store: Store, night: str, record: Record) -> None:
    """Keep how the build for this night ended, instead of an earlier one. Raises Conflict."""
    key = attempt_key(record.image)
    data = canonical_json(Attempt(night=night, record=record).model_dump(mode="json")) + b"\n"
    for _ in range(TRIES):
        if documents.write(store, key, data, store.read_document(key)):
            return
    raise Conflict(store.address, key)


def read(store: Store, night: str, image: str) -> Record | None:
    """How the image's build for this night ended; None if that is not known. Raises RecordDamaged, RecordNewer."""
    found = documents.read(store, attempt_key(image), Attempt)
    return found.record if found and found.night == night else None
