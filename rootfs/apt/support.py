"""Until when suites are supported, from distro-info-data: the machine's package, or the copy here if that is newer."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from rootfs.apt.sources import DISTRO_INFO
from rootfs.errors import InputError, RecipeValue

COPY = Path(__file__).with_name("distro_info")  # of distro-info-data; the first line of each file has its date
NAMES = {"debian": "Debian", "ubuntu": "Ubuntu"}
# The columns that end each kind of support. The last date counts.
COLUMNS = {"full": ("eol", "eol-server"), "lts": ("eol-lts",), "elts": ("eol-elts",), "esm": ("eol-esm",)}
KINDS = {"full": "full support", "lts": "LTS", "elts": "ELTS", "esm": "ESM"}
PRETTY = re.compile(r"^(?:Debian\b.*\((?P<series>[a-z]+)\)|Ubuntu (?P<version>\d+\.\d+))")


@dataclass(frozen=True)
class SuiteSupport:
    """A suite's distribution and version, such as `Debian 12 (bookworm)`, and the last day of each kind of support."""

    title: str
    suite: str
    ends: Mapping[str, date]

    @property
    def later(self) -> tuple[str, ...]:
        """The kinds of support that there are besides full support, the shortest first."""
        return tuple(kind for kind in self.ends if kind != "full")


def support_of(suite: str) -> SuiteSupport | None:
    """Until when a suite is supported; None for a suite without such dates, or one that is not known."""
    return _table().get(suite)


def check_support(support: str | None, suite: str) -> None:
    """Raises InputError for a kind of support that a suite does not have. Of unknown suites nothing is said."""
    known = support_of(suite)
    if support and known and support not in known.ends:
        raise InputError(
            f"there is no {KINDS[support]} of {known.title}",
            hint=f"There is {' and '.join(KINDS[kind] for kind in known.ends)}.",
            about=RecipeValue(support, ("support",)),
        )


def suite_of(distribution: str) -> str:
    """The suite that a tree's os-release means by its PRETTY_NAME; empty where it is not known."""
    found = PRETTY.match(distribution)
    if found is None:
        return ""
    if found["series"]:
        return found["series"] if found["series"] in _table() else ""
    title = f"Ubuntu {found['version']} "
    return next((each.suite for each in _table().values() if each.title.startswith(title)), "")


def data_date() -> date:
    """The day of the newest data about support that this machine has."""
    return max(_copy_date(), *(_package_date(name) for name in NAMES))


@functools.cache
def _table() -> dict[str, SuiteSupport]:
    return {each.suite: each for name in NAMES for each in _read(name)}


def _read(distribution: str) -> Iterable[SuiteSupport]:
    """The suites of a distribution that have an end of full support."""
    folder = DISTRO_INFO if _package_date(distribution) >= _copy_date() else COPY
    with (folder / f"{distribution}.csv").open(newline="") as lines:
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            ends = {kind: max(dates) for kind, names in COLUMNS.items() if (dates := _dates(row, names))}
            if "full" in ends:
                version = row["version"].split()[0]
                yield SuiteSupport(f"{NAMES[distribution]} {version} ({row['series']})", row["series"], ends)


def _dates(row: Mapping[str, str | None], names: Iterable[str]) -> list[date]:
    return [date.fromisoformat(text) for name in names if (text := row.get(name))]


def _copy_date() -> date:
    """The day of the copy, which the first line of its files has."""
    with (COPY / "debian.csv").open() as lines:
        return date.fromisoformat(lines.readline().removeprefix("# ").partition(":")[0])


def _package_date(distribution: str) -> date:
    """The day of the machine's data: a package's files have the time of its last change."""
    try:
        changed = (DISTRO_INFO / f"{distribution}.csv").stat().st_mtime
    except OSError:
        return date.min
    return datetime.fromtimestamp(changed, UTC).date()
