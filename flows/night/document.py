"""What a night did: the document `nights/DATE.json` in the store, one entry for each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from flows.publish.record import FORMAT, Count, DigestOrEmpty, Format, Frozen, StoreName, StoreNameOrEmpty

ImageStatus = Literal["published", "moved", "unchanged", "built", "failed", "damaged", "held", "paused"]
Cve = Annotated[str, Field(pattern=r"^CVE-[0-9]{4}-[0-9]{4,}$")]


class PackageChange(Frozen):
    """A package of an image that is not the same as before: `old` or `new` is empty if it was added or removed.

    `cves` are the CVE numbers that the entries of its Debian changelog between the two versions name.
    """

    name: str
    old: str = ""
    new: str = ""
    cves: tuple[Cve, ...] = ()

    def __str__(self) -> str:
        if not self.old:
            return f"{self.name} {self.new} added"
        return f"{self.name} {self.old} → {self.new}" if self.new else f"{self.name} {self.old} removed"


class ImageNight(Frozen):
    """One image in a night.

    `status` is that of its record, or `held` (a base image failed) or `paused` (it keeps failing with the same inputs
    and is tried again in a later night). `reason` says why it was built, or why it failed, is held or is paused.
    `changes` are the packages that differ from the build before. `transient` is set for a failure that may pass by
    itself, such as that of a network. `recovered` is set when the night before had failed. `seconds` is wall time.
    """

    image: StoreName
    status: ImageStatus
    reason: str = ""
    build: StoreNameOrEmpty = ""
    manifest_digest: DigestOrEmpty = ""
    seconds: float = 0.0
    changes: tuple[PackageChange, ...] = ()
    transient: bool = False
    recovered: bool = False

    @property
    def cves(self) -> tuple[Cve, ...]:
        """The CVE numbers of all changes, sorted, each once."""
        return tuple(sorted({cve for change in self.changes for cve in change.cves}))


class NightDocument(Frozen):
    """A whole night. `date` is its name in the store, `started` and `ended` are UTC (`2026-11-30T02:00:00Z`)."""

    format: Format = FORMAT
    date: StoreName
    started: str
    ended: str
    host: str = ""
    version: str = ""
    images: tuple[ImageNight, ...]
    seconds: Mapping[str, float] = Field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Count]:
        """The number of images by status."""
        counts: dict[str, int] = {}
        for each in self.images:
            counts[each.status] = counts.get(each.status, 0) + 1
        return counts


def night_key(date: str) -> str:
    """The key of a night's document in the store."""
    return f"nights/{date}.json"
