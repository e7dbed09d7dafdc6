"""The names of time zones, and the Debian packages that have them."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path

NAMES = Path(__file__).with_name("time_zones.csv")
MACHINE = Path("/usr/share/zoneinfo")  # may be newer


def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    return name in time_zones() or (MACHINE / name).is_file()


def modern_name(name: str) -> str:
    """The name to use instead of one that only `tzdata-legacy` has; empty for other names."""
    return time_zones().get(name, "")


@functools.cache
def time_zones() -> Mapping[str, str]:
    """The names of all time zones; the value is the one to use instead of a legacy name, empty for other names."""
    with NAMES.open(newline="") as lines:
        return {row["zone"]: row["other"] for row in csv.DictReader(line for line in lines if not line.startswith("#"))}
