"""The database of the local Prefect server: old runs are removed, and its file shrinks."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.waiting import until

ENOUGH = 90.0  # seconds for a server's services, on a busy machine
LARGE = 20 << 20  # bytes of a log line
OLD = f"{datetime.now(UTC) - timedelta(days=40):%Y-%m-%d %H:%M:%S.%f}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Factory]:
    """A site with a local server of its own."""
    place = Factory(tmp_path / "site", {**own_home(tmp_path / "home"), "BASEFORGE_LOCAL_NAME": "retention"})
    place.folder.mkdir()
    place.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    yield place
    place.run("stop")
    place.remove_images()


def database(site: Factory) -> Path:
    return Path(site.settings["BASEFORGE_HOME"]) / "prefect/prefect.db"


def counts(site: Factory) -> dict[str, int]:
    """How many rows these tables have."""
    with contextlib.closing(sqlite3.connect(database(site), timeout=60)) as connection:
        tables = ("flow_run", "task_run", "log", "artifact", "events")
        return {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}


def age(site: Factory) -> None:
    """Let all that is there be of forty days ago, and let the log be long."""
    with contextlib.closing(sqlite3.connect(database(site))) as connection, connection:
        connection.execute("update flow_run set end_time = ?", (OLD,))
        connection.execute("update events set occurred = ?, received = ?", (OLD, OLD))
        connection.execute("update log set message = ? where id = (select id from log limit 1)", ("x" * LARGE,))


def test_old_runs_are_removed_and_the_file_shrinks(site):
    site.built("tiny")
    until(lambda: counts(site)["task_run"] > 5, ENOUGH)  # which the server writes down some seconds later
    assert site.run("stop").status == 0
    age(site)
    before = counts(site)
    assert before["log"]
    assert database(site).stat().st_size > LARGE
    assert site.run("gc").status == 0  # one run of its own
    until(lambda: counts(site)["flow_run"] == 1 and counts(site)["events"] < before["events"], ENOUGH)
    until(lambda: counts(site)["log"] < before["log"] and counts(site)["artifact"] == 0, ENOUGH)
    assert site.run("stop").status == 0
    assert counts(site)["task_run"] < before["task_run"]
    assert database(site).stat().st_size < LARGE  # which it is once somebody has closed it last, as we have now


def test_a_large_database_file_is_shrunk_once(site):
    """As a database that an earlier version has made."""
    site.built("tiny")
    assert site.run("stop").status == 0
    with contextlib.closing(sqlite3.connect(database(site))) as connection:
        connection.execute("create table filler (text)")
        connection.execute("insert into filler values (?)", ("x" * LARGE,))
        connection.commit()
        connection.execute("pragma auto_vacuum = 0")
        connection.execute("vacuum")
        connection.execute("drop table filler")
        connection.commit()
    assert database(site).stat().st_size > LARGE
    assert site.run("page").status == 0  # starts the server
    assert site.run("stop").status == 0
    assert database(site).stat().st_size < LARGE


def test_a_build_that_was_killed_is_shown_as_crashed_after_housekeeping(site):
    site.recipe("slow", "kind: scratch\nfiles: [{path: /motd, content: hello}]\nbuild: [[sleep, '600']]\n")

    def runs() -> dict[str, str]:
        found = site.api.ask("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["build"]}}})
        return {run["id"]: run["state"]["type"] for run in found}

    site.built("tiny")
    with site.start("build", "slow") as process:
        until(lambda: any((site.runs / run).exists() for run in runs()), ENOUGH)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: site.leftovers() == [] or site.run("gc").status != 0, ENOUGH)  # once all its processes have gone
    assert sorted(runs().values()) == ["COMPLETED", "CRASHED"]
