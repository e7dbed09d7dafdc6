"""When each image was last checked: the one document `nights/checked.json`, which changes by compare-and-swap.

An image is checked when a night or `build` has compared it with the archives: it was built, or found unchanged. One
document for all images costs a night two requests to the store, however many images are unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import Field

from flows.publish import documents
from flows.publish.record import FORMAT, Count, Format, Frozen, StoreName, StoreNameOrEmpty
from flows.store.errors import Conflict
from flows.store.store import Store, StoredDocument
from rootfs.system.digests import canonical_json

KEY = "nights/checked.json"
TRIES = 20  # attempts of a compare-and-swap before Conflict is raised
OFTEN = timedelta(minutes=10)  # a check that only repeats one of this age is not written


class ArchiveState(Frozen):
    """The package lists of a suite that are nearest to being too old.

    `date` and `valid_until` are those of its Release file (UTC). `late` is set if the lists were older, when the image
    was checked, than its archive ever leaves them: the mirror that they came from is behind.
    """

    suite: str
    address: str
    date: str
    valid_until: str = ""
    late: bool = False


class WaitingPackage(Frozen):
    """A package of a published build that has a newer version in the archive.

    `since` (UTC) is when a night first saw a newer version. `security` is set if a suite of security updates has one.
    """

    name: str
    old: str
    new: str
    since: str
    security: bool = False


class Check(Frozen):
    """What the last check of an image found. Times are UTC (`2026-11-30T02:00:00Z`).

    `checked` is empty if it was never built or found unchanged, `first` is when it was first looked at. `within` is the
    longest time between checks in seconds; 0 means any. `support` is the key of its recipe, or of its base images.
    `waiting` are the packages of `build` with newer versions, as the last night saw them.
    """

    checked: str = ""
    first: str = ""
    build: StoreNameOrEmpty = ""
    within: Count = 0
    suite: str = ""
    support: str = ""
    archive: ArchiveState | None = None
    waiting: tuple[WaitingPackage, ...] = ()


class Checks(Frozen):
    """All images. `night` is when a night last looked at all recipes: images that are not here have none."""

    format: Format = FORMAT
    night: str = ""
    images: Mapping[StoreName, Check] = Field(default_factory=dict)


def read(store: Store) -> Checks:
    """The checks of all images; none if there were none, or if the document is damaged. Raises RecordNewer."""
    return _parsed(store, store.read_document(KEY))


def note(store: Store, news: Mapping[str, Check], *, all_images: Collection[str] = ()) -> Checks:
    """Note checks; returns the document. A night over all recipes names `all_images`, and others are forgotten.

    A check without a time leaves the time as it was. Raises Conflict if other runs keep changing the document, and what
    the store raises.
    """
    now = datetime.now(UTC)
    for _ in range(TRIES):
        document = store.read_document(KEY)
        before = _parsed(store, document)
        after = _after(before, news, all_images, now)
        if document and not all_images and _only_repeats(before, after, now):
            return before
        data = canonical_json(after.model_dump(mode="json", exclude_defaults=True) | {"format": FORMAT}) + b"\n"
        if documents.write(store, KEY, data, document):
            return after
    raise Conflict(store.address, KEY)


def time_text(moment: datetime) -> str:
    """A time as documents have it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def time_of(text: str) -> datetime | None:
    """The time that a document has; None for no time, or for what is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def build_time(build: str) -> datetime | None:
    """When a build began, as its id says; None for an id of another form."""
    try:
        return datetime.strptime(build[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _after(before: Checks, news: Mapping[str, Check], all_images: Collection[str], now: datetime) -> Checks:
    images = {name: each for name, each in before.images.items() if not all_images or name in all_images}
    for name, check in news.items():
        known = before.images.get(name, Check(first=time_text(now)))
        images[name] = _merged(known, check)
    return Checks(night=time_text(now) if all_images else before.night, images=images)


def _merged(known: Check, check: Check) -> Check:
    """The newer check, with what only the earlier one knows. One without a build does not know what waits."""
    since = {each.name: each.since for each in known.waiting}
    waiting = tuple(
        each.model_copy(update={"since": min(each.since, since.get(each.name, each.since))}) for each in check.waiting
    )
    return check.model_copy(
        update={
            "checked": check.checked or known.checked,
            "first": known.first or check.first,
            "build": check.build or known.build,
            "suite": check.suite or known.suite,
            "archive": check.archive if check.checked else check.archive or known.archive,
            "waiting": waiting if check.build else known.waiting,
        }
    )


def _only_repeats(before: Checks, after: Checks, now: datetime) -> bool:
    """Whether the checks say nothing new but that an image was checked once more within minutes."""
    if before.images.keys() != after.images.keys():
        return False
    for name, check in after.images.items():
        known = before.images[name]
        last = time_of(known.checked)
        recent = known.checked == check.checked or (last is not None and abs(now - last) < OFTEN)
        if not recent or check.model_copy(update={"checked": known.checked}) != known:
            return False
    return True


def _parsed(store: Store, document: StoredDocument | None) -> Checks:
    return documents.parse_if_valid(store, KEY, document, Checks) or Checks()
