"""Nights that were missed while `serve` did not run: the newest one runs, and the others say why they do not."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Api, Factory
from tests.support.waiting import until

ENOUGH = 90.0  # seconds for some runs, each of which is a process that loads Prefect
OFTEN = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds from one look for due runs to the next, usually 10
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.fixture
def site(tmp_path: Path) -> Factory:
    factory = Factory(tmp_path, {"BASEFORGE_LOCAL_NAME": "baseforge-missed"})
    factory.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    return factory


def nights(api: Api, parent: str) -> list[dict[str, Any]]:
    """The runs of the nightly deployment, oldest first."""
    body = {"deployments": {"id": {"any_": [parent]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[dict[str, Any]] = api.ask("POST", "flow_runs/filter", body)
    return found


def missed(site: Factory, runs: list[str]) -> None:
    """Make these runs, which the server's scheduler has made for nights to come, ones of nights that are over."""
    database = Path(site.environment["BASEFORGE_HOME"]) / "prefect/prefect.db"
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for days, run in enumerate(reversed(runs)):
            due = f"{datetime.now(UTC) - timedelta(days=days, minutes=5):%Y-%m-%d %H:%M:%S.%f}"
            connection.execute(
                "update flow_run set expected_start_time = ?1, next_scheduled_start_time = ?1, idempotency_key = ?2 "
                "where id = ?2",
                (due, run),
            )


def test_only_the_newest_missed_night_runs_and_a_run_by_hand_is_never_skipped(site):
    with site.served(env=OFTEN):
        api = site.api
        parent = api.ask("GET", "deployments/name/nightly/nightly")["id"]
        until(lambda: len(nights(api, parent)) >= 3, ENOUGH)
        planned = [run["id"] for run in nights(api, parent)]
    missed(site, planned)
    with site.served(env=OFTEN):
        api = site.api

        def states(*runs: str) -> dict[str, dict[str, Any]]:
            return {run["id"]: run["state"] for run in nights(api, parent) if run["id"] in runs}

        def end(*runs: str) -> bool:
            return all(state["type"] in ENDED for state in states(*runs).values())

        until(lambda: end(*planned), ENOUGH)
        earlier = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        due = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": earlier}}}
        by_hand = api.ask("POST", f"deployments/{parent}/create_flow_run", due)["id"]
        until(lambda: end(by_hand), ENOUGH)
        ended = states(*planned, by_hand)
    assert [ended[run]["name"] for run in planned] == ["Skipped"] * (len(planned) - 1) + ["Completed"]
    assert "a newer one, due at" in ended[planned[0]]["message"]
    assert ended[by_hand]["name"] == "Completed"
    assert len(site.builds()) == 1
