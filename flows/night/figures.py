"""Figures about the newest builds and the last night, read from the store: two small documents for each image."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel

from flows.night.document import NewestNights, NightSummary, night_key
from flows.publish import checks, documents, newest
from flows.publish.checks import Check, build_time, time_of
from flows.publish.errors import RecordDamaged
from flows.publish.record import Count, key_of
from flows.store.store import Store

ASKING = 16  # threads: each request to a store in S3 takes milliseconds


class Build(BaseModel):
    """The part of a record that figures are made of. Its locks, which are most of it, are not looked at."""

    build: str = ""
    manifest_digest: str = ""
    distribution: str = ""
    platforms: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
    size: Count = 0
    unpacked: Count = 0
    packages: Count = 0

    @property
    def built(self) -> float | None:
        """When it was built, in seconds since 1970, as its id says."""
        return _seconds(build_time(self.build))


@dataclass(frozen=True)
class ImageFigures:
    """An image: its newest build, whether the last night could do its work on it, and when it was last looked at.

    `status` is `ok`, `failed`, `held` or `paused`, as of the last night that had the image, or `damaged`.
    """

    image: str
    status: str
    checked: float | None
    build: Build | None


@dataclass(frozen=True)
class Figures:
    """All images, and the last night over all recipes; `at` is now. Times are in seconds since 1970."""

    images: tuple[ImageFigures, ...]
    night: NightSummary | None
    at: float

    @property
    def night_times(self) -> tuple[float, float] | None:
        """When the last night started and ended."""
        if self.night is None:
            return None
        started, ended = (_seconds(time_of(text)) for text in (self.night.started, self.night.ended))
        return (started, ended) if started is not None and ended is not None else None


def read_figures(store: Store, images: Iterable[str]) -> Figures:
    """The figures of these images. A damaged document costs only its image. Raises what the store raises."""
    nights, checked = _nights(store), checks.read(store).images
    with ThreadPoolExecutor(ASKING) as threads:
        found = tuple(threads.map(lambda image: _image(store, image, nights, checked.get(image, Check())), images))
    whole = (night for night in nights if not night.only)
    return Figures(found, next(whole, nights[0] if nights else None), datetime.now(UTC).timestamp())


def _nights(store: Store) -> tuple[NightSummary, ...]:
    try:
        found = documents.read(store, night_key("newest"), NewestNights)
    except RecordDamaged:
        return ()
    return found.nights if found else ()


def _image(store: Store, image: str, nights: tuple[NightSummary, ...], check: Check) -> ImageFigures:
    own = [night for night in nights if not night.only or image in night.only]
    status = _status(image, own[0]) if own else "ok"
    looked = [_seconds(time_of(check.checked))]
    looked += [_seconds(time_of(night.started)) for night in own if _status(image, night) == "ok"]
    try:
        pointed = newest.read(store, image)
        build = documents.read(store, key_of(image, pointed.build), Build) if pointed else None
    except RecordDamaged:
        return ImageFigures(image, "damaged", max(filter(None, looked), default=None), None)
    known = [*looked, build.built if build else None]
    return ImageFigures(image, status, max(filter(None, known), default=None), build)


def _status(image: str, night: NightSummary) -> str:
    return next((word for word in ("failed", "held", "paused") if image in getattr(night, word)), "ok")


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
