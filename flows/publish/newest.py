"""An image's newest build: the document `images/NAME/newest.json`, which changes by compare-and-swap.

Writing this document is the commit point of a publication. The tags in the registry and in the engine follow. Its
`number` only grows, so the order of builds does not depend on any machine's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime

from flows.publish import documents
from flows.publish.record import FORMAT, Count, Format, Frozen, StoreName
from flows.store.errors import Conflict
from flows.store.store import Store, StoredDocument
from rootfs.system.digests import canonical_json

FIRST = 1  # the number of the first build, which may have been killed before it became `latest`
HISTORY = 50  # earlier moves in the document
TRIES = 20  # attempts of a compare-and-swap before Conflict is raised


class Move(Frozen):
    """A build became `latest`: the value of the counter, the time (UTC) and the reason."""

    build: StoreName
    number: Count
    at: str
    why: str


class Newest(Move):
    """The build that is `latest`, and the moves before, newest first.

    `named` says whether the tags in the registry and the engine have followed. If not, a run was interrupted or failed.
    """

    format: Format = FORMAT
    named: bool = False
    history: tuple[Move, ...] = ()


def read(store: Store, image: str) -> Newest | None:
    """Which build is `latest`; None if the store does not say. Raises RecordDamaged and RecordNewer."""
    return documents.read(store, newest_key(image), Newest)


def read_if_valid(store: Store, image: str) -> Newest | None:
    """Which build is `latest`; None also for a damaged document, which the next move replaces. Raises RecordNewer."""
    return _parsed(store, store.read_document(newest_key(image)), image)


def move_latest(store: Store, image: str, build: str, why: str, *, least: int = 0) -> Newest:
    """Make this build `latest`. The counter becomes `least` or more. If it is `latest` already, nothing is written.

    Raises Conflict if other runs keep changing the document.
    """
    for _ in range(TRIES):
        document = store.read_document(newest_key(image))
        before = _parsed(store, document, image)
        if before and before.build == build:
            return before
        now = _after(before, build, why, least)
        if _written(store, image, now, document):
            return now
    raise Conflict(store.address, newest_key(image))


def mark_named(store: Store, image: str, build: str) -> bool:
    """Note that the tags in registry and engine have followed; returns whether this build is still `latest`."""
    for _ in range(TRIES):
        document = store.read_document(newest_key(image))
        before = _parsed(store, document, image)
        if before is None or before.build != build:
            return False
        if before.named or _written(store, image, before.model_copy(update={"named": True}), document):
            return True
    raise Conflict(store.address, newest_key(image))


def newest_key(image: str) -> str:
    """The key of an image's document in the store."""
    return f"images/{image}/newest.json"


def _after(before: Newest | None, build: str, why: str, least: int) -> Newest:
    history: tuple[Move, ...] = ()
    if before:
        last = Move(build=before.build, number=before.number, at=before.at, why=before.why)
        history = (last, *before.history)[:HISTORY]
    number = max(before.number + 1 if before else FIRST, least)
    return Newest(build=build, number=number, at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", why=why, history=history)


def _written(store: Store, image: str, now: Newest, before: StoredDocument | None) -> bool:
    """Write the document unless it has changed since it was read; returns whether it was written."""
    data = canonical_json(now.model_dump(mode="json")) + b"\n"
    return documents.write(store, newest_key(image), data, before)


def _parsed(store: Store, document: StoredDocument | None, image: str) -> Newest | None:
    return documents.parse_if_valid(store, newest_key(image), document, Newest)
