"""A night over several machines: a shared Prefect server on PostgreSQL, two workers, and a store in S3."""

from __future__ import annotations

from pathlib import Path

from tests.support.factory import Factory
from tests.support.outcome import complains
from tests.support.services.fleet import Fleet


def scratch(site: Factory, *names: str) -> None:
    for name in names:
        site.recipe(name, f"kind: scratch\nfiles: [{{path: /motd, content: {name}}}]\n")


def test_a_night_is_built_by_two_workers(fleet: Fleet) -> None:
    names = [f"tiny-{number}" for number in range(4)]
    scratch(fleet.planner, *names)
    with fleet.working():
        night = fleet.planner.run("nightly", "--json")
        assert night.status == 0, night.stderr
        built = {each["image"]: each["status"] for each in night.json["images"]}
        assert built == dict.fromkeys([*names, "tiny"], "published")
        again = fleet.planner.run("nightly", "--json")
    assert {each["status"] for each in again.json["images"]} == {"unchanged"}
    logs = [{log.name for log in Path(each.settings["BASEFORGE_HOME"], "logs").iterdir()} for each in fleet.workers]
    assert all(logs), "one of the workers has built nothing"
    assert not logs[0] & logs[1]


def test_a_worker_without_an_engine_refuses(fleet: Fleet) -> None:
    done = fleet.workers[0].run("worker", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    complains(done, 3, "engine")


def test_a_night_whose_pool_is_not_there_says_so_at_once(fleet: Fleet) -> None:
    scratch(fleet.planner, "late")
    done = fleet.planner.run("nightly", "--only", "late", env={"BASEFORGE_WORK_POOL": "nobody"})
    complains(done, 3, "there is no such pool", "baseforge deploy")
