"""The deployments of `serve`, and the same ones for a shared server in deploy/prefect.yaml."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.config.settings import Settings
from flows.scheduled.deployments import deployments

FILE = Path(__file__).parents[4] / "deploy/prefect.yaml"


@pytest.fixture(scope="module")
def written():
    return {entry["name"]: entry for entry in YAML(typ="safe").load(FILE)["deployments"]}


@pytest.fixture(scope="module")
def served():
    return {deployment.name: deployment for deployment in deployments(Settings(store=""))}


def test_serve_and_prefect_yaml_have_the_same_flows(written, served):
    assert written.keys() == served.keys() == {"build", "nightly", "watch", "housekeeping"}
    for name, entry in written.items():
        path, _, function = entry["entrypoint"].partition(":")
        assert served[name].entrypoint == f"{path.removesuffix('.py').replace('/', '.')}.{function}"
        assert served[name].tags == entry["tags"]


def test_the_night_has_one_schedule_with_a_slug_and_never_runs_twice_at_once(written, served):
    [planned], [there] = written["nightly"]["schedules"], served["nightly"].schedules
    assert (planned["cron"], planned["timezone"], planned["slug"]) == ("0 2 * * *", "UTC", "nightly")
    assert (there.schedule.cron, there.schedule.timezone, there.slug) == ("0 2 * * *", "UTC", "nightly")
    limit = written["nightly"]["concurrency_limit"]
    options = served["nightly"].concurrency_options
    assert (served["nightly"].concurrency_limit, options.collision_strategy) == (
        limit["limit"],
        limit["collision_strategy"],
    )


def test_cron_and_zone_are_settings():
    chosen = Settings(store="", nightly_cron="30 4 * * 1", watch_cron="*/5 * * * *", timezone="Europe/Berlin")
    schedules = {
        each.name: [(made.schedule.cron, made.active) for made in each.schedules] for each in deployments(chosen)
    }
    assert (schedules["nightly"], schedules["watch"]) == ([("30 4 * * 1", True)], [("*/5 * * * *", True)])
    assert {made.schedule.timezone for each in deployments(chosen)[1:3] for made in each.schedules} == {"Europe/Berlin"}


def test_the_watch_runs_every_ten_minutes_unless_it_is_switched_off(served):
    [schedule] = served["watch"].schedules
    assert (schedule.schedule.cron, schedule.active) == ("*/10 * * * *", True)
    _, _, watch, _ = deployments(Settings(store="", watch_cron=""))
    [schedule] = watch.schedules  # without one Prefect would keep that of an earlier time
    assert not schedule.active
