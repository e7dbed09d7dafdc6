"""The nights in the store: each night's document, and `nights/newest.json`, which lists the newest ones."""

from __future__ import annotations

import contextlib

from flows.night.document import NewestNights, NightDocument, NightSummary, night_key
from flows.publish import documents
from flows.publish.errors import RecordDamaged
from flows.store.errors import Conflict
from flows.store.store import Store
from rootfs.system.digests import canonical_json

KEPT = 60  # nights in the list
TRIES = 20  # attempts of a compare-and-swap before Conflict is raised
KEY = night_key("newest")


def read_nights(store: Store) -> NewestNights:
    """The newest nights; none if there were none yet. If the list cannot be read, the next night begins a new one."""
    try:
        return documents.read(store, KEY, NewestNights) or NewestNights()
    except RecordDamaged:
        return NewestNights()


def read_night(store: Store, date: str) -> NightDocument | None:
    """A night's document. Raises RecordDamaged."""
    return documents.read(store, night_key(date), NightDocument)


def keep_night(store: Store, night: NightDocument) -> NightDocument:
    """Keep a night's document, then its line in the list. Returns it with its date.

    Of two nights that began in one second the later one to end gets a number behind its date. Raises what the store
    raises.
    """
    kept = _create(store, night)
    for _ in range(TRIES):
        document = store.read_document(KEY)
        before = documents.parse_if_valid(store, KEY, document, NewestNights) or NewestNights()
        data = canonical_json(_after(before, kept).model_dump(mode="json")) + b"\n"
        if documents.write(store, KEY, data, document):
            return kept
    raise Conflict(store.address, KEY)


def _create(store: Store, night: NightDocument) -> NightDocument:
    for number in range(1, TRIES):
        kept = night if number == 1 else night.model_copy(update={"date": f"{night.date}-{number}"})
        with contextlib.suppress(Conflict):
            store.create_document(night_key(kept.date), kept.model_dump_json(indent=2).encode() + b"\n")
            return kept
    raise Conflict(store.address, night_key(night.date))


def _after(before: NewestNights, night: NightDocument) -> NewestNights:
    """The list with this night in it. A night over all recipes also says which images are no longer there."""
    here = {each.image: each.status for each in night.images}
    failing = {image for image, status in here.items() if status in ("failed", "paused")}
    if night.only:
        failing |= {image for image in before.failing if here.get(image, "held") == "held"}
    else:
        failing |= {image for image in before.failing if here.get(image) == "held"}
    nights = sorted((summary_of(night), *before.nights), key=lambda each: each.date, reverse=True)
    return NewestNights(
        number=max(before.number, night.number), failing=tuple(sorted(failing)), nights=tuple(nights[:KEPT])
    )


def summary_of(night: NightDocument) -> NightSummary:
    """A night's line in the list."""

    def named(status: str) -> tuple[str, ...]:
        return tuple(each.image for each in night.images if each.status == status)

    return NightSummary(
        date=night.date,
        number=night.number,
        started=night.started,
        ended=night.ended,
        only=night.only,
        summary=night.summary,
        failed=named("failed"),
        held=named("held"),
        paused=named("paused"),
    )
