"""How long updates take from the archive to a published image: noted by each build, and summed up in percentiles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from flows.publish import documents, stored_builds
from flows.publish.errors import RecordDamaged
from flows.publish.record import Record, StoreName, Times, key_of
from flows.store.store import Store
from rootfs.lock.lock import Lock, Package
from rootfs.packages import changelog

MOST = 200  # newer packages: an image with more is of another release, and its changelogs say little about fixes
READING = 16  # threads that read records
STAGES = ("seen", "built", "tested", "published")


class Percentiles(BaseModel):
    """Seconds from the archive's `Date` to the published image, over some builds (nearest rank)."""

    model_config = ConfigDict(frozen=True)

    builds: int
    p50: float
    p90: float
    p99: float
    max: float


class ImageLatency(Percentiles):
    """The updates of one image. `stages` has the median seconds of each stage since the one before."""

    image: StoreName
    stages: dict[str, float]


class CveLatency(Percentiles):
    """The fixes of one CVE number, in these images."""

    cve: str
    images: tuple[StoreName, ...]


class Latency(BaseModel):
    """The updates that builds of the last `days` have published: all of them, by image, and by CVE number."""

    model_config = ConfigDict(frozen=True)

    days: int
    total: Percentiles | None
    images: tuple[ImageLatency, ...]
    cves: tuple[CveLatency, ...]


class TimedBuild(BaseModel):
    """The part of a record that has times. Its locks are not looked at."""

    image: StoreName
    build: str
    times: Times | None = None
    fixes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """From the archive to the published image; 0 if the build brought no update."""
        times = self.times
        return max(0.0, times.published - times.archive) if times and times.archive and times.published else 0.0


def times_of(store: Store, record: Record, before: Record | None, moments: Mapping[str, float]) -> Times:
    """The times of a build whose record is about to be written. `before` is the image's build before."""
    return Times(archive=_archive_time(store, record, before), **{name: moments.get(name, 0) for name in STAGES})


def fixes_of(store: Store, record: Record, before: Record | None) -> tuple[str, ...]:
    """The CVE numbers that the changelogs of newer packages name, and those that its newer base images fix.

    Of several platforms the machine's own is looked at. With too many newer packages there are none.
    """
    part = record.own
    if before is None or (earlier := before.of(part.platforms[0])) is None:
        return ()
    found = set[str]()
    newer = list(_newer(earlier.lock, part.lock))
    for old, new in newer if len(newer) <= MOST else ():
        found.update(changelog.cves(changelog.changes(store, old, new, part.lock.packages)))
    for base in _newer_bases(store, part, earlier):
        found.update(base.fixes)
    return tuple(sorted(found))


def read_latency(store: Store, images: Iterable[str], days: int) -> Latency:
    """The latency of updates in these images. Damaged records are left out. Raises what the store raises."""
    since = f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}"
    keys = [
        key_of(image, build) for image in images for build in stored_builds.build_ids(store, image) if build >= since
    ]
    with ThreadPoolExecutor(READING) as threads:
        found = [each for each in threads.map(lambda key: _timed(store, key), keys) if each and each.seconds]
    by_image, by_cve = defaultdict[str, list[TimedBuild]](list), defaultdict[str, list[TimedBuild]](list)
    for each in found:
        by_image[each.image].append(each)
        for cve in each.fixes:
            by_cve[cve].append(each)
    return Latency(
        days=days,
        total=_percentiles(found) if found else None,
        images=tuple(
            ImageLatency(image=image, stages=_stages(builds), **_percentiles(builds).model_dump())
            for image, builds in sorted(by_image.items())
        ),
        cves=tuple(_of_cve(cve, builds) for cve, builds in sorted(by_cve.items())),
    )


def _of_cve(cve: str, builds: Sequence[TimedBuild]) -> CveLatency:
    images = tuple(sorted({each.image for each in builds}))
    return CveLatency(cve=cve, images=images, **_percentiles(builds).model_dump())


def _archive_time(store: Store, record: Record, before: Record | None) -> float:
    """The earliest Date of a Release file that brought a newer package; 0 if none did or the recipe has changed."""
    dates: list[float] = []
    for part in record.parts or (record,):
        earlier = before.of(part.platforms[0]) if before else None
        if earlier is None or earlier.recipe_digest != part.recipe_digest:
            return 0
        dates += [_date(part.lock, package) for _, package in _newer(earlier.lock, part.lock)]
        dates += [base.times.archive for base in _newer_bases(store, part, earlier) if base.times]
    return min(filter(None, dates), default=0)


def _newer_bases(store: Store, part: Record, earlier: Record) -> Iterator[TimedBuild]:
    """The base images that are other builds than before: what they waited for, this image did too."""
    known = {(each.image, each.build) for each in earlier.base_builds}
    for base in part.base_builds:
        if (base.image, base.build) not in known and (found := _timed(store, key_of(base.image, base.build))):
            yield found


def _newer(old: Lock, new: Lock) -> Iterator[tuple[Package, Package]]:
    """The packages that both locks have in other versions: the old and the new one."""
    known = {(each.name, each.architecture): each for each in old.packages}
    for package in new.packages:
        before = known.get((package.name, package.architecture), package)
        if before.version != package.version:
            yield before, package


def _date(lock: Lock, package: Package) -> int:
    suites = [each for each in lock.releases if each.suite == package.suite]
    return next((each.date for each in suites if each.address == package.archive), suites[0].date if suites else 0)


def _timed(store: Store, key: str) -> TimedBuild | None:
    try:
        return documents.read(store, key, TimedBuild)
    except RecordDamaged:
        return None


def _percentiles(builds: Sequence[TimedBuild]) -> Percentiles:
    seconds = sorted(each.seconds for each in builds)

    def rank(percent: int) -> float:
        return round(seconds[max(0, math.ceil(percent / 100 * len(seconds)) - 1)], 3)

    return Percentiles(builds=len(builds), p50=rank(50), p90=rank(90), p99=rank(99), max=rank(100))


def _stages(builds: Sequence[TimedBuild]) -> dict[str, float]:
    """The median seconds from each stage to the next, from the archive on."""
    found: dict[str, float] = {}
    for before, stage in zip(("archive", *STAGES), STAGES, strict=False):
        pairs = [(getattr(each.times, before), getattr(each.times, stage)) for each in builds]
        if took := sorted(max(0.0, there - here) for here, there in pairs if here and there):
            found[stage] = round(took[(len(took) - 1) // 2], 3)
    return found
