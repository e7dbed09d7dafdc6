"""The CVE numbers that the changed packages of an image fix, out of the changelogs in the pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flows.night.document import PackageChange
from flows.publish import documents
from flows.publish.errors import RecordDamaged
from flows.publish.record import Record, key_of
from flows.store.store import Store
from rootfs.lock.lock import Package
from rootfs.packages import changelog

MOST = 200  # changed packages; an image with more is one of another release, and its numbers would say nothing
DEEPEST = 32  # base images of base images


@dataclass(frozen=True)
class CveReader:
    """Reads changelogs, each pair of debs once: many images of a night have the same packages."""

    store: Store
    known: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def add(self, changes: tuple[PackageChange, ...], before: Record, after: Record) -> tuple[PackageChange, ...]:
        """The changes between two builds for one platform, with their CVE numbers. Raises what the store raises."""
        if not changes or len(changes) > MOST:
            return changes
        old, new = (_packages(self.store, each) for each in (before, after))
        return tuple(
            each.model_copy(update={"cves": self._of(old.get(each.name), new.get(each.name), new)}) for each in changes
        )

    def _of(self, old: Package | None, new: Package | None, lock: Mapping[str, Package]) -> tuple[str, ...]:
        if not old or not new:
            return ()
        pair = old.sha256, new.sha256
        if pair not in self.known:
            self.known[pair] = changelog.cves(changelog.changes(self.store, old, new, lock.values()))
        return self.known[pair]


def _packages(store: Store, part: Record) -> dict[str, Package]:
    """The packages of an image for one platform: those of its lock, and those of its base images.

    The keys are names, and names with architectures.
    """
    return {
        name: package
        for record in reversed(list(_lineage(store, part)))
        for package in record.lock.packages
        for name in (package.name, f"{package.name}:{package.architecture}")
    }


def _lineage(store: Store, part: Record) -> Iterator[Record]:
    """A build, its base images, and theirs. What the store has no readable record of is left out."""
    yield part
    left, depth = _bases(part), 0
    while left and depth < DEEPEST:
        key, depth = left.pop(), depth + 1
        try:
            found = documents.read(store, key, Record)
        except RecordDamaged:
            continue
        if found and (base := found.of(part.platforms[0])):
            yield base
            left += _bases(base)


def _bases(record: Record) -> list[str]:
    return [key_of(each.image, each.build) for each in record.base_builds]
