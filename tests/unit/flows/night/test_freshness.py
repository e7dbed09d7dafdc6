"""Whether images are fresh and supported: what `list`, `show` and `doctor` say at a given time, and the alarms."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flows.night.freshness import alarms, read_states, stale_alarms, support_alarms, support_state
from flows.publish.checks import ArchiveState, Check, WaitingPackage, note, time_text
from flows.publish.newest import move_latest
from flows.publish.record import Record
from flows.store.folder import FolderStore
from tests.support.schemas import validate

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = 86400
LIMIT = 36 * 3600
FIX = WaitingPackage(name="openssl", old="1", new="2", since="2026-11-28T02:00:00Z", security=True)


def ago(**time: float) -> str:
    return time_text(NOW - timedelta(**time))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def build(store: FolderStore, image: str, days: float, distribution: str = "") -> Record:
    """An image that was built some days ago."""
    moment = NOW - timedelta(days=days)
    record = Record(
        image=image,
        build=f"{moment:%Y%m%dT%H%M%SZ}-1a2b3c4d",
        status="published",
        platforms=("linux/amd64",),
        distribution=distribution,
    )
    store.create_document(record.key, record.model_dump_json().encode())
    move_latest(store, image, record.build, "a new build")
    return record


def reasons(store: FolderStore, now: datetime = NOW) -> dict[str, tuple[str, ...]]:
    """Why images are stale."""
    return {state.image: state.freshness.reasons for state in read_states(store, "36h", now) if state.freshness}


def test_image_is_stale_when_its_last_check_is_older_than_its_limit(store: FolderStore) -> None:
    for image in ("checked", "weekly", "built", "neither"):
        build(store, image, 0.5 if image == "built" else 5)
    news = {
        "checked": Check(checked=ago(hours=30), within=LIMIT),
        "weekly": Check(checked=ago(days=3), within=7 * DAY),
        "built": Check(checked=ago(days=4), within=LIMIT),
        "neither": Check(checked=ago(days=3, hours=4), within=LIMIT),
    }
    note(store, news)
    old = "last checked 3 d 4 h ago; the limit is 1 d 12 h"
    assert reasons(store) == {"checked": (), "weekly": (), "built": (), "neither": (old,)}
    assert all(reasons(store, NOW + timedelta(days=8)).values())


def test_images_are_stale_also_when_no_night_ever_noted_a_check(store: FolderStore) -> None:
    build(store, "old", 2)
    build(store, "new", 1)
    assert {image: bool(why) for image, why in reasons(store).items()} == {"old": True, "new": False}


def test_image_without_a_recipe_is_not_looked_at(store: FolderStore) -> None:
    """A night over all recipes knows which images have one."""
    build(store, "removed", 30)
    build(store, "here", 0)
    note(store, {"here": Check(checked=ago(hours=1), within=LIMIT)}, all_images=["here"])
    assert reasons(store) == {"here": ()}


def test_imported_image_is_never_stale(store: FolderStore) -> None:
    build(store, "imported", 30)
    note(store, {"imported": Check(checked=ago(days=30), within=0)})
    assert reasons(store) == {"imported": ()}


def test_image_that_was_never_built_is_stale_when_it_has_failed_for_long(store: FolderStore) -> None:
    note(store, {"broken": Check(first=ago(days=2), within=LIMIT)})
    later = datetime.now(UTC) + timedelta(days=3)
    assert reasons(store, datetime.now(UTC)) == {"broken": ()}
    assert reasons(store, later)["broken"][0].startswith("never built, although it has a recipe since 3 d")


def test_check_of_the_future_says_nothing(store: FolderStore) -> None:
    """A machine's clock was wrong: that must not hide for years that nobody checks."""
    build(store, "web", 3)
    note(store, {"web": Check(checked="2038-01-01T00:00:00Z", within=LIMIT)})
    assert reasons(store)["web"][0].startswith("last checked 3 d")


def test_package_lists_that_are_late_or_have_expired_make_an_image_stale(store: FolderStore) -> None:
    lists = ArchiveState(suite="trixie-security", address="http://a", date=ago(days=5), valid_until=ago(days=-2))
    late = lists.model_copy(update={"late": True})
    expired = lists.model_copy(update={"valid_until": ago(hours=1)})
    for image in ("good", "late", "expired"):
        build(store, image, 0)
    shared = {"checked": ago(hours=1), "within": LIMIT}
    note(
        store,
        {
            image: Check(archive=each, **shared)
            for image, each in {"good": lists, "late": late, "expired": expired}.items()
        },
    )
    assert reasons(store) == {
        "good": (),
        "late": (
            f"the package lists of trixie-security were of {ago(days=5)} when it was checked: the mirror is late",
        ),
        "expired": (f"the package lists of trixie-security were valid until {ago(hours=1)}, and no newer ones came",),
    }


def test_many_stale_images_are_one_alarm(store: FolderStore) -> None:
    for number in range(12):
        build(store, f"web{number:02}", 3)
    [alarm] = stale_alarms(read_states(store, "36h", NOW))
    assert alarm.startswith("stale: 12 images; the oldest check was 3 d ago: web00, web01, ")
    assert alarm.endswith("web09 and 2 more")


@pytest.mark.parametrize(
    ("suite", "relied_on", "day", "warning"),
    [
        ("bookworm", "", "2025-11-01", ""),
        (
            "bookworm",
            "",
            "2026-01-12",
            "full support of Debian 12 (bookworm) ends in less than six months, on 2026-07-11",
        ),
        (
            "bookworm",
            "",
            "2026-04-12",
            "full support of Debian 12 (bookworm) ends in less than three months, on 2026-07-11",
        ),
        (
            "bookworm",
            "",
            "2026-06-11",
            "full support of Debian 12 (bookworm) ends in less than one month, on 2026-07-11",
        ),
        ("bookworm", "", "2026-12-01", "full support of Debian 12 (bookworm) ended on 2026-07-11"),
        ("bookworm", "lts", "2026-12-01", ""),
        ("bookworm", "lts", "2028-06-01", "LTS of Debian 12 (bookworm) ends in less than one month, on 2028-06-30"),
        ("bookworm", "elts", "2028-12-01", ""),
        ("jammy", "", "2026-11-30", ""),
        ("jammy", "", "2026-12-04", "full support of Ubuntu 22.04 (jammy) ends in less than six months, on 2027-06-01"),
        ("jammy", "esm", "2027-12-04", ""),
    ],
)
def test_warnings_begin_180_90_and_30_days_ahead(suite: str, relied_on: str, day: str, warning: str) -> None:
    found = support_state(suite, relied_on, date.fromisoformat(day))
    assert found
    assert found.warning.partition(" (LTS")[0].partition(" (ELTS")[0].partition(" (ESM")[0] == warning


def test_ended_support_names_what_can_be_relied_on() -> None:
    ended = support_state("bookworm", "", date(2026, 12, 1))
    assert ended
    assert (ended.kind, ended.until, ended.days) == ("full", "2026-07-11", -143)
    assert ended.warning.endswith("(LTS until 2028-06-30, ELTS until 2033-06-30: `support` in the recipe)")
    wrong = support_state("jammy", "lts", date(2027, 12, 1))
    assert wrong
    assert wrong.warning.endswith("; there is no LTS of it")
    assert support_state("", "", date(2026, 12, 1)) is None
    assert support_state("sid", "", date(2026, 12, 1)) is None


def test_alarm_about_support_names_the_images(store: FolderStore) -> None:
    for image in ("old", "old-slim", "acknowledged", "new", "static"):
        build(store, image, 0)
    suites = {"old": "bookworm", "old-slim": "bookworm", "acknowledged": "bookworm", "new": "trixie", "static": ""}
    note(
        store,
        {
            image: Check(
                checked=ago(hours=1), within=LIMIT, suite=suite, support="lts" if image == "acknowledged" else ""
            )
            for image, suite in suites.items()
        },
    )
    [alarm] = alarms(read_states(store, "36h", NOW))
    assert alarm.startswith("bookworm: full support of Debian 12 (bookworm) ended on 2026-07-11")
    assert alarm.endswith(": old, old-slim")
    assert support_alarms(read_states(store, "36h", NOW)) == (alarm,)


def shown(folder: Path, *words: str, at: datetime = NOW) -> subprocess.CompletedProcess[str]:
    """A command in a site whose store is `store`, at a time of its own."""
    command = ["faketime", f"{at:%Y-%m-%d %H:%M:%S}", sys.executable, "-m", "flows.cli", *words]
    environment = {
        "PATH": "/usr/bin:/bin",
        "TZ": "UTC",
        "BASEFORGE_HOME": f"{folder / 'home'}",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    environment |= {"BASEFORGE_STORE": f"{folder / 'store'}", "PYTHONPATH": str(Path(__file__).parents[4])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_monitor_sees_stale_images_by_the_exit_status(store: FolderStore, tmp_path: Path) -> None:
    """Prefect is not loaded, and nothing is written."""
    build(store, "web", 0.5, "Debian GNU/Linux 12 (bookworm)")
    made = build(store, "app", 5)
    note(store, {"app": Check(checked=ago(hours=1), within=LIMIT, build=made.build, suite="trixie", waiting=(FIX,))})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    good, bad = (
        shown(tmp_path, "list", "--stale", "--json"),
        shown(tmp_path, "list", "--stale", at=NOW + timedelta(days=1.1)),
    )
    assert (good.returncode, json.loads(good.stdout)) == (0, [])
    assert (bad.returncode, "web" in bad.stdout, "app" in bad.stdout) == (1, True, False)
    assert "1 d 14 h ago, stale" in bad.stdout
    found = shown(tmp_path, "list", "--json")
    images = {each["image"]: each for each in json.loads(found.stdout)}
    validate("list", list(images.values()))
    fresh = images["web"]["freshness"]
    assert 43200 <= fresh.pop("age") < 43260
    assert fresh == {"checked": ago(days=0.5), "within": LIMIT, "stale": False, "reasons": []}
    assert images["web"]["support"]["until"] == "2026-07-11"
    assert images["app"]["waiting"] == [FIX.model_dump()]
    table = shown(tmp_path, "list").stdout
    assert "1 (1 security)" in table
    assert "ended 2026-07-11" in table
    one = shown(tmp_path, "show", "app").stdout
    assert "1 fixes waiting, 1 security, since 2026-11-28T02:00:00Z" in one
    assert "openssl 1 → 2 since 2026-11-28T02:00:00Z, security" in one
    validate("show", json.loads(shown(tmp_path, "show", "app", "--json").stdout))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before
    assert "prefect" not in "".join((good.stderr, bad.stderr, found.stderr))
