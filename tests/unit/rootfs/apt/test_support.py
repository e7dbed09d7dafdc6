"""Until when suites are supported: the machine's data, and the copy that comes along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from rootfs.apt import support
from rootfs.apt.support import COPY, NAMES, data_date, suite_of, support_of

HEAD = "version,codename,series,created,release,eol,eol-lts,eol-elts\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without distro-info-data."""
    monkeypatch.setattr(support, "DISTRO_INFO", tmp_path)
    support._table.cache_clear()
    yield tmp_path
    support._table.cache_clear()


def package(folder: Path, day: date, text: str) -> None:
    for name in NAMES:
        (folder / f"{name}.csv").write_text(text)
        seconds = (day - date(1970, 1, 1)).days * 86400 + 3600
        os.utime(folder / f"{name}.csv", (seconds, seconds))
    support._table.cache_clear()


@pytest.mark.usefixtures("machine")
def test_copy_has_each_supported_suite_and_its_own_date_and_source() -> None:
    for name in NAMES:
        first, second, header = (COPY / f"{name}.csv").read_text().splitlines()[:3]
        assert first.startswith(f"# {data_date()}: distro-info-data ")
        assert second.startswith("# https://")
        assert header.startswith("version,codename,series,created,release,eol")
    bookworm, jammy = support_of("bookworm"), support_of("jammy")
    assert bookworm
    assert jammy
    assert (bookworm.title, bookworm.later) == ("Debian 12 (bookworm)", ("lts", "elts"))
    assert (bookworm.ends["full"], bookworm.ends["lts"]) == (date(2026, 7, 11), date(2028, 6, 30))
    assert (jammy.title, jammy.later, jammy.ends["full"]) == ("Ubuntu 22.04 (jammy)", ("esm",), date(2027, 6, 1))
    assert (support_of("sid"), support_of("nosuch")) == (None, None)


def test_data_of_the_machine_count_unless_they_are_older_than_the_copy(machine: Path) -> None:
    text = f"{HEAD}12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-12,2029-01-01,\n"
    package(machine, date(2020, 1, 1), text)
    known = support_of("bookworm")
    assert known
    assert known.ends["lts"] == date(2028, 6, 30)
    package(machine, date(2030, 1, 1), text)
    known = support_of("bookworm")
    assert known
    assert (known.ends, data_date()) == ({"full": date(2026, 7, 12), "lts": date(2029, 1, 1)}, date(2030, 1, 1))
    assert support_of("trixie") is None


def test_columns_that_old_data_lack_are_no_support(machine: Path) -> None:
    package(
        machine,
        date(2030, 1, 1),
        "version,codename,series,created,release,eol\n1,A,a,2020-01-01,2021-01-01,2024-01-01\n",
    )
    known = support_of("a")
    assert known
    assert known.later == ()


@pytest.mark.parametrize(
    ("distribution", "suite"),
    [
        ("Debian GNU/Linux 12 (bookworm)", "bookworm"),
        ("Debian GNU/Linux forky/sid", ""),
        ("Debian GNU/Linux 99 (nosuch)", ""),
        ("Ubuntu 24.04.3 LTS", "noble"),
        ("Ubuntu 99.04", ""),
        ("Alpine Linux v3.22", ""),
        ("", ""),
    ],
)
@pytest.mark.usefixtures("machine")
def test_suite_of_what_a_tree_calls_itself(distribution: str, suite: str) -> None:
    assert suite_of(distribution) == suite
