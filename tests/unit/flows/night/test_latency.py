"""Latency: what a build notes about the update that it brings, and the percentiles over many builds."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli import output
from flows.night.latency import fixes_of, read_latency, times_of
from flows.publish.record import BaseImageBuild, Record, Times
from flows.store.folder import FolderStore
from rootfs.lock.lock import Lock, Release
from rootfs.system.text import format_seconds
from tests.support.debs import a_deb, package

PLATFORM = "linux/amd64"
MOMENTS = {"seen": 1100.0, "built": 1200.0, "tested": 1210.0, "published": 1220.0}
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def lock(main: int, security: int, **versions: str) -> Lock:
    """A lock of two suites with these dates; packages whose names begin with `lib` are of the second."""
    return Lock(
        releases=tuple(
            Release(address="", suite=suite, sha256="", date=date, signer="")
            for suite, date in (("trixie", main), ("trixie-security", security))
        ),
        packages=tuple(
            package(name, version, suite="trixie-security" if name.startswith("lib") else "trixie")
            for name, version in versions.items()
        ),
    )


def record(image: str = "web", build: str = "1", **keys: Any) -> Record:
    common = {"platforms": (PLATFORM,), "recipe_digest": DIGEST, "status": "published"}
    return Record(image=image, build=build, **{**common, **keys})


def archive_time(store: FolderStore, after: Record, before: Record | None) -> float:
    times = times_of(store, after, before, MOMENTS)
    assert times.model_dump(exclude={"archive"}) == MOMENTS
    return times.archive


def test_time_in_the_archive_is_that_of_the_suite_which_brought_the_change(store: FolderStore) -> None:
    before = record(lock=lock(500, 600, libssl="1", bash="1", zlib="1"))
    security = record(lock=lock(900, 1000, libssl="2", bash="1", zlib="1"))
    both = record(lock=lock(900, 1000, libssl="2", bash="2", zlib="1"))
    same = record(lock=lock(900, 1000, libssl="1", bash="1", zlib="1"))
    assert [archive_time(store, each, before) for each in (security, both, same)] == [1000, 900, 0]


def test_no_time_in_the_archive_for_a_new_image_and_for_a_changed_recipe(store: FolderStore) -> None:
    before, after = record(lock=lock(500, 600, libssl="1")), record(lock=lock(900, 1000, libssl="2"))
    other = after.model_copy(update={"recipe_digest": f"sha256:{'b' * 64}"})
    assert archive_time(store, after, None) == 0
    assert archive_time(store, other, before) == 0


def test_image_on_another_waited_for_what_its_base_image_waited_for(store: FolderStore) -> None:
    for build, archive in (("1", 0), ("2", 1000)):
        base = record("base", build, times=Times(archive=archive))
        store.create_document(base.key, base.model_dump_json().encode())
    on = [BaseImageBuild(image="base", build=build, manifest_digest=DIGEST) for build in ("1", "2")]
    before = record(parent=on[0])
    assert archive_time(store, record(parent=on[1]), before) == 1000
    assert archive_time(store, record(bases=(on[1],)), record(bases=(on[0],))) == 1000
    assert archive_time(store, record(parent=on[0]), before) == 0


def test_fixes_are_those_of_changelogs_and_of_newer_base_images(store: FolderStore) -> None:
    text = b"bash (2) trixie; urgency=high\n\n  * CVE-2026-1234\n\n -- A <a@b.c>  Mon, 30 Nov 2026 12:00:00 +0000\n"
    data = a_deb(files={"usr/share/doc/bash/changelog.Debian": text})
    sha256 = store.put_blob(io.BytesIO(data)).removeprefix("sha256:")
    base = record("base", "2", fixes=("CVE-2026-9999",))
    store.create_document(base.key, base.model_dump_json().encode())
    on = [BaseImageBuild(image="base", build=build, manifest_digest=DIGEST) for build in ("1", "2")]
    before = record(lock=Lock(packages=(package("bash", "1"),)), parent=on[0])
    after = record(lock=Lock(packages=(package("bash", "2", sha256=sha256, source="bash"),)), parent=on[1])
    assert fixes_of(store, after, before) == ("CVE-2026-1234", "CVE-2026-9999")
    assert fixes_of(store, after, None) == ()


def test_all_platforms_count(store: FolderStore) -> None:
    def both(arm: str, date: int) -> Record:
        parts = (record(lock=lock(1, 1, bash="1")), record(platforms=("linux/arm64",), lock=lock(date, 1, bash=arm)))
        return record(parts=parts)

    assert archive_time(store, both("2", 800), both("1", 700)) == 800


def keep(store: FolderStore, image: str, number: int, seconds: float, *fixes: str, days: int = 1) -> None:
    build = f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}-{number:08}"
    archive = 1_000_000.0 if seconds else 0
    times = Times(
        archive=archive, seen=archive + 60, built=archive + 200, tested=archive + 210, published=archive + seconds
    )
    made = record(image, build, times=times, fixes=fixes)
    store.create_document(made.key, made.model_dump_json().encode())


def test_percentiles_by_image_and_by_cve_number(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 101):
        keep(store, "web", number, 600.0 + number)
    keep(store, "web", 101, 0)  # brought no update
    keep(store, "web", 102, 9e6, days=200)  # long ago
    keep(store, "noble", 1, 4000.0, "CVE-2026-1111", "CVE-2026-2222")
    keep(store, "web", 103, 700.5, "CVE-2026-1111")
    old = Record(image="web", build="29991231T000000Z-1", status="published").model_dump(exclude={"times", "fixes"})
    store.create_document("images/web/builds/29991231T000000Z-1.json", json.dumps(old).encode())
    store.create_document("images/web/builds/29991231T000000Z-2.json", b"{")
    found = read_latency(store, ["noble", "web"], 90)
    noble, web = found.images
    assert (web.builds, web.p50, web.p90, web.p99, web.max) == (101, 651, 691, 700, 700.5)
    assert web.stages == {"seen": 60, "built": 140, "tested": 10, "published": 441}
    assert (noble.image, noble.p50, noble.max) == ("noble", 4000, 4000)
    assert [(each.cve, each.images, each.p50, each.max) for each in found.cves] == [
        ("CVE-2026-1111", ("noble", "web"), 700.5, 4000),
        ("CVE-2026-2222", ("noble",), 4000, 4000),
    ]
    output.latency(found, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(found.model_dump_json())
    output.latency(found, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        "web",
        "101",
        "10",
        "min",
        "51",
        "s",
        "11",
        "min",
        "31",
        "s",
        "11",
        "min",
        "40",
        "s",
        "11",
        "min",
        "40",
        "s",
    ] in lines
    assert lines[-1][:2] == ["CVE-2026-2222", "1"]


def test_store_without_updates(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    output.latency(read_latency(store, [], 90), as_json=False)
    assert "no build of the last 90 days has brought an update" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (45.2, "45 s"), (60, "1 min"), (3725, "1 h 2 min"), (90061, "1 d 1 h")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
