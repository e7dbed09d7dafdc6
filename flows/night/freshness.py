"""Whether images are fresh and their distributions supported, as the store says; no archive is asked.

It reads one document for all images, and one more for each image that seems to be stale.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flows.publish import checks, newest, stored_builds
from flows.publish.checks import Check, Checks, WaitingPackage, build_time, time_of
from flows.publish.errors import RecordDamaged
from flows.publish.record import Count, Frozen, Record
from flows.store.store import Store
from rootfs.apt.support import KINDS, suite_of, support_of
from rootfs.errors import BaseforgeError
from rootfs.system.text import format_seconds, parse_duration

WRONG_CLOCK = timedelta(hours=1)  # a check that is later than now by more than this says nothing
# Days before the end of support on which a warning begins, and how it says so.
AHEAD = ((30, "one month"), (90, "three months"), (180, "six months"))
NAMED = 10  # images that an alarm names


class Freshness(Frozen):
    """When an image was last checked (UTC; empty if never), how many seconds ago, and how many there may be (0: any).

    It is stale if there are `reasons`.
    """

    checked: str
    age: Count | None
    within: Count
    stale: bool
    reasons: tuple[str, ...]


class Support(Frozen):
    """The support of an image's distribution: `kind` is `full`, `lts`, `elts` or `esm`, `until` its last day.

    `days` are left, fewer than 0 when it has ended; `warning` is empty while many are left.
    """

    suite: str
    title: str
    kind: str
    until: str
    days: int
    warning: str


@dataclass(frozen=True)
class ImageState:
    """What the store knows of an image; no freshness for an image without a recipe, no support for an unknown suite."""

    image: str
    freshness: Freshness | None
    support: Support | None
    waiting: tuple[WaitingPackage, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether the image is to be looked after."""
        return self.freshness is not None and self.freshness.stale

    def texts(self) -> dict[str, str]:
        """What is known, in words."""
        found = {}
        if known := self.freshness:
            found["checked"] = (
                known.checked if known.age is None else f"{known.checked}, {format_seconds(known.age)} ago"
            )
            found["fresh"] = f"no: {'; '.join(known.reasons)}" if known.stale else "yes"
        if self.support:
            ends = f"{self.support.title}, {KINDS[self.support.kind]} until {self.support.until}"
            found["support"] = self.support.warning or ends
        if self.waiting:
            found["waiting"] = waiting_text(self.waiting)
        return found


@dataclass(frozen=True)
class FleetState:
    """The checks of all images, as of `now`. `fresh_within` is the setting, for images that no night has seen."""

    checks: Checks
    fresh_within: str
    now: datetime

    def of(self, image: str, record: Record | None) -> ImageState:
        """The state of an image whose newest build this is."""
        check = self.checks.images.get(image)
        built = build_time(record.build) if record else None
        suite = (check.suite if check else "") or (_suite_of(record) if record else "")
        return ImageState(
            image,
            self._freshness(check, built),
            support_state(suite, check.support if check else "", self.now.date()),
            check.waiting if check and record and check.build == record.build else (),
        )

    def _freshness(self, check: Check | None, built: datetime | None) -> Freshness | None:
        if check is None and (self.checks.night or built is None):
            return None  # a night knows all recipes, and this image has none
        within = check.within if check else parse_duration(self.fresh_within)
        times = [moment for moment in (check and time_of(check.checked), built) if moment]
        valid = [moment for moment in times if moment <= self.now + WRONG_CLOCK]
        checked = max(valid, default=None)
        age = max(0, int((self.now - checked).total_seconds())) if checked else None
        reasons = tuple(self._reasons(check, checked, age, within)) if within else ()
        text = checks.time_text(checked) if checked else ""
        return Freshness(checked=text, age=age, within=within, stale=bool(reasons), reasons=reasons)

    def _reasons(self, check: Check | None, checked: datetime | None, age: int | None, within: int) -> Iterator[str]:
        limit = format_seconds(within)
        if age is not None and age > within:
            yield f"last checked {format_seconds(age)} ago; the limit is {limit}"
        if checked is None and check:
            first = time_of(check.first)
            if first and (since := (self.now - first).total_seconds()) > within:
                yield f"never built, although it has a recipe since {format_seconds(since)}; the limit is {limit}"
        if check and (lists := check.archive):
            until = time_of(lists.valid_until)
            if lists.late:
                yield f"the package lists of {lists.suite} were of {lists.date} when it was checked: the mirror is late"
            elif until and until < self.now:
                yield f"the package lists of {lists.suite} were valid until {lists.valid_until}, and no newer ones came"


def _suite_of(record: Record) -> str:
    """The suite of an image: what its tree calls itself, or else the suite that its packages come from."""
    named = suite_of(record.own.distribution)
    return named or next((each.suite for each in record.own.lock.releases if support_of(each.suite)), "")


def read_fleet(store: Store, fresh_within: str, now: datetime | None = None) -> FleetState:
    """The checks of all images. Raises what the store raises."""
    return FleetState(checks.read(store), fresh_within, now or datetime.now(UTC))


def read_states(store: Store, fresh_within: str, now: datetime | None = None) -> tuple[ImageState, ...]:
    """The states of all images, also of those that no build succeeded of. Raises what the store raises.

    The newest build of an image is looked up only if its last check does not show that it is fresh.
    """
    fleet = read_fleet(store, fresh_within, now)
    names = sorted({*stored_builds.images(store), *fleet.checks.images})
    return tuple(_state(store, fleet, image) for image in names)


def _state(store: Store, fleet: FleetState, image: str) -> ImageState:
    check = fleet.checks.images.get(image)
    build = check.build if check else ""
    state = fleet.of(image, Record(image=image, build=build, status="published") if build else None)
    if not (state.freshness and state.freshness.checked) or state.stale:
        with contextlib.suppress(RecordDamaged):
            if (pointed := newest.read(store, image)) and pointed.build != build:
                return fleet.of(image, Record(image=image, build=pointed.build, status="published"))
    return state


def support_state(suite: str, relied_on: str, today: date) -> Support | None:
    """The support of a suite for an image that relies on this kind of it; full support if that is empty or not there.

    None for a suite without known dates, or none.
    """
    known = support_of(suite) if suite else None
    if known is None:
        return None
    kind = relied_on if relied_on in known.ends else "full"
    until = known.ends[kind]
    days = (until - today).days
    warning = ""
    if days < 0:
        warning = f"{KINDS[kind]} of {known.title} ended on {until}"
    elif ahead := next((words for number, words in AHEAD if days <= number), ""):
        warning = f"{KINDS[kind]} of {known.title} ends in less than {ahead}, on {until}"
    later = [f"{KINDS[each]} until {known.ends[each]}" for each in known.later if known.ends[each] > max(until, today)]
    if warning and later:
        warning += f" ({', '.join(later)}: `support` in the recipe)"
    if warning and relied_on and kind != relied_on:
        warning += f"; there is no {KINDS[relied_on]} of it"
    return Support(suite=suite, title=known.title, kind=kind, until=f"{until}", days=days, warning=warning)


def waiting_text(waiting: Sequence[WaitingPackage]) -> str:
    """The fixes that wait in a line, and each of them in another."""
    secure = sum(each.security for each in waiting)
    since = min(each.since for each in waiting)
    lines = [
        f"{each.name} {each.old} → {each.new} since {each.since}{', security' if each.security else ''}"
        for each in waiting
    ]
    return "\n".join([f"{len(waiting)} fixes waiting, {secure} security, since {since}", *lines])


def night_alarms(store: Store, fresh_within: str, noted: Checks, images: Iterable[str]) -> list[str]:
    """What a night has to tell about its images, by what it has noted. Never raises: the night has been."""
    fleet = FleetState(noted, fresh_within, datetime.now(UTC))
    try:
        return list(alarms(_state(store, fleet, image) for image in images))
    except BaseforgeError as problem:
        return [f"it is not known which images are stale: {problem.message}"]


def alarms(states: Iterable[ImageState]) -> tuple[str, ...]:
    """What to tell about images: each that is stale, or all in a line if these are many; and each suite's support."""
    found = list(states)
    return (*stale_alarms(found), *support_alarms(found))


def stale_alarms(states: Iterable[ImageState]) -> tuple[str, ...]:
    """The stale images, each with its reasons."""
    stale = {state.image: state.freshness for state in states if state.freshness and state.stale}
    if len(stale) > NAMED:
        oldest = max((each.age or 0 for each in stale.values()), default=0)
        ago = f"; the oldest check was {format_seconds(oldest)} ago" if oldest else ""
        return (f"stale: {len(stale)} images{ago}: {_listed(stale)}",)
    return tuple(f"{image}: stale: {'; '.join(each.reasons)}" for image, each in stale.items())


def support_alarms(states: Iterable[ImageState]) -> tuple[str, ...]:
    """The warnings about the end of support, each with the images that it concerns."""
    images: dict[tuple[str, str], list[str]] = {}
    for state in states:
        if state.freshness and state.support and state.support.warning:
            images.setdefault((state.support.suite, state.support.warning), []).append(state.image)
    return tuple(f"{suite}: {warning}: {_listed(names)}" for (suite, warning), names in images.items())


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return f"{', '.join(every[:NAMED])}{more}"
