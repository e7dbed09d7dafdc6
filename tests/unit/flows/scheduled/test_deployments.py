"""The deployments that `serve` and `deploy` register."""

import pytest

from flows.config.settings import Settings
from flows.scheduled.deployments import deployments


@pytest.fixture(scope="module")
def served():
    return {deployment.name: deployment for deployment in deployments(Settings(store=""))}


def test_each_flow_is_known_by_its_module(served):
    assert {name: each.entrypoint for name, each in served.items()} == {
        "build": "flows.build.build",
        "nightly": "flows.scheduled.nightly.nightly",
        "watch": "flows.scheduled.watch.watch",
        "freshness": "flows.scheduled.freshness.freshness",
        "housekeeping": "flows.cleanup_flow.housekeeping",
    }
    assert {tuple(each.tags) for each in served.values()} == {("baseforge",)}


def test_the_night_has_one_schedule_with_a_slug_and_never_runs_twice_at_once(served):
    [there] = served["nightly"].schedules
    assert (there.schedule.cron, there.schedule.timezone, there.slug) == ("0 2 * * *", "UTC", "nightly")
    assert served["nightly"].concurrency_limit == 1
    assert served["nightly"].concurrency_options.collision_strategy == "CANCEL_NEW"


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
    _, _, watch, *_ = deployments(Settings(store="", watch_cron=""))
    [schedule] = watch.schedules  # without one Prefect would keep that of an earlier time
    assert not schedule.active
