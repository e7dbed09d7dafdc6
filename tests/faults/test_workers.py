"""A night over several machines while one of them, the server or its database fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.factory import Done
from tests.support.outcome import start
from tests.support.services.fleet import Fleet

pytestmark = pytest.mark.full  # each takes a minute or more
LONG = 400.0  # seconds, of which a lost machine takes 90 until it counts as lost


def disturbed(fleet: Fleet, probe: Path, image: str, disturb: Callable[[], None]) -> Done:
    """A night in which something fails while a worker tests the image."""
    recipes.checked(fleet.planner, image, probe, "{run: [/probe, sleep, '15']}")
    with (running := start(fleet.planner, "nightly", "--only", image, "--json")).process:
        running.until(lambda _: any("baseforge-smoke-" in line for line in fleet.planner.leftovers()))
        disturb()
        return running.end(LONG)


def ends_well(fleet: Fleet, image: str, *first: str) -> None:
    """The next night has the image, published once."""
    nights = [fleet.planner.run("nightly", "--only", image, "--json") for _ in range(2)]
    assert [night.json["images"][0]["status"] for night in nights] == [*first, "unchanged"], nights[0].stderr
    assert fleet.builds(image) == 1


def test_a_machine_that_is_lost_fails_its_image_and_the_next_night_builds_it(fleet: Fleet, probe: Path) -> None:
    with fleet.working(fleet.workers[0]):
        night = disturbed(fleet, probe, "lost", lambda: fleet.lose(fleet.workers[0]))
    [image] = night.json["images"]
    assert (night.status, image["status"], image["transient"]) == (1, "failed", True), night.stderr
    assert "its worker has sent no heartbeat" in image["reason"]
    assert fleet.builds("lost") == 0
    with fleet.working(fleet.workers[1]):
        ends_well(fleet, "lost", "published")


def test_a_server_that_restarts_in_the_middle_changes_nothing(fleet: Fleet, probe: Path) -> None:
    def restart() -> None:
        fleet.server.kill()
        fleet.server.start()

    with fleet.working():
        night = disturbed(fleet, probe, "restarted", restart)
        assert [image["status"] for image in night.json["images"]] == ["published"], night.stderr
        ends_well(fleet, "restarted", "unchanged")


def test_a_database_that_restarts_in_the_middle_changes_nothing(fleet: Fleet, probe: Path) -> None:
    with fleet.working():
        night = disturbed(fleet, probe, "database", lambda: fleet.database.control("restart", "-m", "fast"))
        assert [image["status"] for image in night.json["images"]] == ["published"], night.stderr
        ends_well(fleet, "database", "unchanged")
