"""What a night did: the document `nights/DATE.json` in the store, one entry for each image, and the list of nights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, computed_field

from flows.publish.checks import WaitingPackage
from flows.publish.record import FORMAT, Count, Cve, DigestOrEmpty, Format, Frozen, Record, StoreName, StoreNameOrEmpty

ImageStatus = Literal["published", "moved", "unchanged", "built", "failed", "damaged", "held", "paused"]
# What a plan says of an image. `wait`: its base image is built first, and what to do is decided when its turn comes.
Action = Literal["build", "wait", "move", "unchanged", "failed", "held", "paused"]
GOOD: tuple[ImageStatus, ...] = ("published", "moved", "unchanged")


class PackageChange(Frozen):
    """A package of an image that is not the same as before: `old` or `new` is empty if it was added or removed.

    `cves` are the CVE numbers that the entries of its Debian changelog between the two versions name.
    """

    name: str
    old: str = ""
    new: str = ""
    cves: tuple[Cve, ...] = ()

    def __str__(self) -> str:
        if self.old == self.new:
            return f"{self.name} {self.new} rebuilt"
        if not self.old:
            return f"{self.name} {self.new} added"
        return f"{self.name} {self.old} → {self.new}" if self.new else f"{self.name} {self.old} removed"


class PlannedImage(Frozen):
    """What a night will do with an image, and why.

    `reason` is for example `openssl 3.0.15-1 → 3.0.15-2` or `recipe changed`. `changes` are the packages that will be
    other ones, as far as the plan knows them: those of the image's own lock.
    """

    image: StoreName
    action: Action
    reason: str = ""
    changes: tuple[PackageChange, ...] = ()


class NightPlan(Frozen):
    """What a night will do: `baseforge nightly --dry-run --json`."""

    images: tuple[PlannedImage, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> dict[str, Count]:
        """The number of images by action."""
        return _counts(each.action for each in self.images)


class ImageNight(Frozen):
    """One image in a night.

    `status` is that of its record, or `held` (a base image failed) or `paused` (it keeps failing with the same inputs
    and is tried again in a later night). `planned` is what the plan said, and `why` why it was to be built. `reason` is
    the same for what was built; it says why names were moved, and why an image failed, is held or is paused.
    `changes` are the packages that differ from the build before, `waiting` those of the published build that have newer
    versions in the archive. `transient` is set for a failure that may pass by
    itself, such as that of a network. `recovered` is set if the image failed or was paused in the night before.
    `seconds` is wall time.
    """

    image: StoreName
    status: ImageStatus
    planned: Action | Literal[""] = ""
    why: str = ""
    reason: str = ""
    build: StoreNameOrEmpty = ""
    manifest_digest: DigestOrEmpty = ""
    seconds: float = 0.0
    changes: tuple[PackageChange, ...] = ()
    waiting: tuple[WaitingPackage, ...] = ()
    transient: bool = False
    recovered: bool = False

    @property
    def cves(self) -> tuple[Cve, ...]:
        """The CVE numbers of all changes, sorted, each once."""
        return tuple(sorted({cve for change in self.changes for cve in change.cves}))


class NightDocument(Frozen):
    """A whole night. `date` is its name in the store, `started` and `ended` are UTC (`2026-11-30T02:00:00Z`).

    `number` counts the nights over all recipes. A night over the images in `only` has the number of the night before.
    """

    format: Format = FORMAT
    date: StoreName
    number: Count = 0
    started: str
    ended: str
    host: str = ""
    version: str = ""
    only: tuple[StoreName, ...] = ()
    images: tuple[ImageNight, ...]
    seconds: Mapping[str, float] = Field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> dict[str, Count]:
        """The number of images by status."""
        return _counts(each.status for each in self.images)


class Night(NightDocument):
    """A night as the command prints it: its document, and the record of each image."""

    builds: tuple[Record, ...] = ()


class NightSummary(Frozen):
    """A night in the list of nights: the number of images by status, and which were `failed`, `held` or `paused`."""

    date: StoreName
    number: Count = 0
    started: str
    ended: str
    only: tuple[StoreName, ...] = ()
    summary: dict[str, Count]
    failed: tuple[StoreName, ...] = ()
    held: tuple[StoreName, ...] = ()
    paused: tuple[StoreName, ...] = ()


class NewestNights(Frozen):
    """The document `nights/newest.json`: the newest nights, the newest first, so that nobody has to list all.

    `number` is that of the last night over all recipes. `failing` are the images that failed or were paused when a
    night last looked at them.
    """

    format: Format = FORMAT
    number: Count = 0
    failing: tuple[StoreName, ...] = ()
    nights: tuple[NightSummary, ...] = ()


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words))


def night_key(date: str) -> str:
    """The key of a night's document in the store."""
    return f"nights/{date}.json"
