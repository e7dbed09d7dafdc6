"""The caches of builders: what they hold, how much, and how to clear them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator
from pydantic.alias_generators import to_pascal

from flows.builders.buildx_cli import buildx
from flows.builders.engine import context_name
from flows.builders.errors import BuilderAsleep, BuildxFailed, OtherContext, invalid_builder
from flows.builders.listing import RUNNING, ListedBuilder, find, listed, name_or_selected
from rootfs.errors import nearest

PRUNE = 600.0  # seconds

UNITS: dict[str, int] = {unit: 1000**power for power, unit in enumerate(("B", "kB", "MB", "GB", "TB", "PB"))}
SIZE = re.compile(r"\d+(\.\d+)?\s*([kKmMgGtTpP]?[iI]?[bB]?)")  # as docker's command line reads sizes
AGE = re.compile(r"(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")  # Go's time.ParseDuration
# From BuildKit's cache/manager.go; buildx has the first two and turns `id` into a search. Others select nothing.
FILTERS = (
    *("until", "unused-for", "id", "parents", "description", "inuse", "mutable", "immutable"),
    *("type", "shared", "private"),
)


class Cached(BaseModel):
    """One record of a builder's cache. Sizes are in bytes; buildx gives only their first four digits."""

    model_config = ConfigDict(frozen=True, alias_generator=to_pascal)

    id: str = Field(alias="ID")
    type: str = ""
    description: str = ""
    size: int = 0
    reclaimable: bool = False
    shared: bool = False
    mutable: bool = False
    usage_count: int = 0
    created_at: str = ""
    last_used_at: str = ""
    parents: tuple[str, ...] = ()

    @field_validator("size", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        return parsed(value) if isinstance(value, str) else value

    @field_validator("parents", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return value or ()


class Usage(BaseModel):
    """What one builder has cached. `error` says why that is not known."""

    model_config = ConfigDict(frozen=True)

    builder: str
    driver: str
    status: str
    error: str = ""
    records: tuple[Cached, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reclaimable(self) -> int:
        """Bytes that `prune --all` would clear."""
        return sum(record.size for record in self.records if record.reclaimable)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Bytes in all records."""
        return sum(record.size for record in self.records)


class AllUsage(BaseModel):
    """What builders have cached, each and in sum; sizes are in bytes."""

    model_config = ConfigDict(frozen=True)

    reclaimable: int
    total: int
    builders: tuple[Usage, ...]

    @classmethod
    def of(cls, found: Sequence[Usage]) -> AllUsage:
        """The sum of these."""
        sums = (sum(each.reclaimable for each in found), sum(each.total for each in found))
        return cls(reclaimable=sums[0], total=sums[1], builders=tuple(found))


class ClearedRecord(BaseModel):
    """What buildx says of a record of a cache that it has cleared."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    size: int
    reclaimable: bool
    shared: bool
    mutable: bool
    last_used_at: str


class Cleared(BaseModel):
    """What was cleared of a builder's cache; `reclaimed` is in bytes."""

    model_config = ConfigDict(frozen=True)

    builder: str
    reclaimed: int
    records: tuple[ClearedRecord, ...]

    @classmethod
    def of(cls, done: Usage) -> Cleared:
        """What `prune` returns."""
        records = tuple(map(ClearedRecord.model_validate, done.records))
        return cls(builder=done.builder, reclaimed=done.total, records=records)


def parsed(size: str) -> int:
    """Bytes of a size as buildx prints it: `8.192kB`, `1.2GB*` (shared). Raises ValueError."""
    match = re.fullmatch(r"([\d.]+)\s*(\w+)\*?", size)
    if not match or match[2] not in UNITS:
        raise ValueError(f"{size!r} is not a size")
    return round(float(match[1]) * UNITS[match[2]])


def usage(name: str = "") -> list[Usage]:
    """The usage of every builder, with the reason if it is not known; or of the named one only.

    Raises InputError, BuilderAsleep, OtherContext, BuildxMissing and BuildxFailed.
    """
    if name:
        return [_of(_awake(find(name)))]
    return [_told(builder) for builder in listed()]


def _told(builder: ListedBuilder) -> Usage:
    try:
        return _of(_awake(builder))
    except (BuilderAsleep, BuildxFailed, OtherContext) as error:
        reason = "; ".join(builder.errors) or error.message
        return Usage(builder=builder.name, driver=builder.driver, status=builder.status, error=reason)


def _of(builder: ListedBuilder) -> Usage:
    lines = buildx("du", "--builder", builder.name, "--format", "json").splitlines()
    records = tuple(map(Cached.model_validate_json, lines))
    return Usage(builder=builder.name, driver=builder.driver, status=builder.status, records=records)


def _awake(builder: ListedBuilder) -> ListedBuilder:
    """Check that a builder runs, as asking does not start it. buildx asks only the current context's engine."""
    if builder.is_engine and builder.name != context_name():
        raise OtherContext(builder.name)
    if builder.status != RUNNING:
        raise BuilderAsleep(builder.name, "; ".join([builder.status, *builder.errors]))
    return builder


def prune(name: str = "", *, filters: Sequence[str] = (), keep: str = "", everything: bool = False) -> Usage:
    """Clear the cache of a builder, the selected one by default; returns what was cleared.

    `keep` is how much may stay, with a unit. `everything` also clears what BuildKit keeps for itself.
    Raises InputError, and what `usage` raises for one builder.
    """
    words = [word for each in filters for word in ("--filter", _filter(each))]
    if keep:
        words += ["--reserved-space", _size(keep)]
    builder = _awake(find(name_or_selected(name)))
    output = buildx(
        "prune", "--force", "--builder", builder.name, *words, *(["--all"] if everything else []), wait=PRUNE
    )
    records = tuple(cleared(output.splitlines()))
    return Usage(builder=builder.name, driver=builder.driver, status=builder.status, records=records)


def cleared(lines: Iterable[str]) -> Iterable[Cached]:
    """Parse the output of `buildx prune`, which has no other format: id, reclaimable, size, last accessed."""
    for line in lines:
        if match := re.fullmatch(r"(\S+?)(\*?)\s+(true|false)\s+([\d.]\S*B)(\*?)(?:\s+(.*?))?\s*", line):
            yield Cached.model_validate(
                {
                    "ID": match[1],
                    "Mutable": bool(match[2]),
                    "Reclaimable": match[3] == "true",
                    "Size": match[4],
                    "Shared": bool(match[5]),
                    "LastUsedAt": match[6] or "",
                }
            )


def _size(size: str) -> str:
    if not SIZE.fullmatch(size):
        raise invalid_builder(f"{size!r} is not a size", "Write a number and a unit, as 500MB or 20GB.")
    return size


def _filter(rule: str) -> str:
    key, equals, value = rule.partition("=")
    key = key.rstrip("!~")
    if not equals or key not in FILTERS:
        hint = nearest(key, FILTERS) or f"Known here: {', '.join(FILTERS)}."
        raise invalid_builder(f"{rule!r} is not a filter: write NAME=VALUE", hint)
    if key in ("until", "unused-for") and not AGE.fullmatch(value):
        raise invalid_builder(f"{value!r} is not a time", "Write it in hours, minutes and seconds, as 24h or 1h30m.")
    return rule
