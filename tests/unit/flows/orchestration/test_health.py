"""When the services of a Prefect server count as failing."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing

import pytest

from flows.orchestration import health, local_server
from flows.orchestration.health import Health

WELL, ILL = Health(scheduled=3), Health(problem="the scheduler has made 0 runs of nightly, and should have made 3")


@pytest.fixture
def looks(monkeypatch):
    """What is seen, one look after the other, and then always the last; the clock goes on by a second each time."""
    seen, clock = [], [0.0]

    async def look():
        clock[0] += 1
        return seen.pop(0) if len(seen) > 1 else seen[0]

    monkeypatch.setattr(health, "look", look)
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(health, "OFTEN", 0)
    monkeypatch.setattr(health, "SELDOM", 0)
    monkeypatch.setattr(health, "PATIENCE", 5)
    monkeypatch.setattr(health, "SOON", 5)
    return seen


def test_runs_may_take_a_moment_to_be_made(looks):
    looks += [ILL, ILL, WELL]
    assert asyncio.run(health.until_scheduled()) == WELL


def test_runs_that_are_not_made_soon_are_a_problem(looks):
    looks += [ILL]
    assert asyncio.run(health.until_scheduled()) == ILL


def test_a_short_problem_is_ignored_and_a_long_one_reported(looks):
    looks += [WELL, *[ILL] * 4, WELL, *[ILL] * 4, WELL, ILL]
    began = len(looks)
    assert asyncio.run(health.until_failing(lambda: True)) == ILL.problem
    assert len(looks) == 1 < began


def test_a_running_build_is_finished_first(looks):
    looks += [ILL]
    answers = iter([False] * 20 + [True])
    assert asyncio.run(health.until_failing(lambda: next(answers))) == ILL.problem
    assert list(answers) == []


def test_a_server_that_does_not_answer_is_a_problem():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    began = time.monotonic()
    with local_server.settings_of(f"http://127.0.0.1:{port}/api"):
        assert asyncio.run(health.look()).problem.startswith("the API fails (")
    assert time.monotonic() - began < 60
