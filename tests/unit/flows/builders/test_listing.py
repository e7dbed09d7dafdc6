"""The output of `buildx ls` (0.38): one line for each builder and one for each node."""

from __future__ import annotations

import json

import pytest

from flows.builders.listing import ListedBuilder, parse

RULE = {"all": True, "filter": None, "keepDuration": 172800000000000, "maxUsedSpace": 100, "reservedSpace": 10}
TWO = {
    "Current": True,
    "Driver": "docker-container",
    "Dynamic": False,
    "LastActivity": "2026-11-23T23:45:57Z",
    "Name": "two",
    "Nodes": [
        {
            "Name": "two0",
            "Endpoint": "unix:///run/docker.sock",
            "Status": "running",
            "Version": "v0.34.2",
            "Platforms": ["linux/arm64", "linux/amd64"],
            "DriverOpts": {"image": "a,\tb"},
            "Flags": ["--debug"],
            "Labels": {"site": "here"},
            "GCPolicy": [RULE],
            "Files": {"buildkitd.toml": "eA=="},
        },
        {"Name": "two1", "Endpoint": "far", "Status": "error", "Err": "no\nway"},
    ],
}
DEAD = {
    "Current": False,
    "Driver": "",
    "Name": "dead",
    "Err": "Cannot connect",
    "LastActivity": "0001-01-01T00:00:00Z",
    "Nodes": [{"Endpoint": "", "Name": ""}],
}
ENGINE = {"Current": False, "Driver": "docker", "Name": "default", "Nodes": [{"Name": "default", "Status": "running"}]}


def line(builder: object, platforms: str = "") -> str:
    return f"{json.dumps(builder)}\t{platforms}\n"


TEXT = line(TWO) + line(TWO, "linux/arm64*, linux/amd64") + line(TWO) + line(DEAD) + line(ENGINE) * 2


def test_builders_and_their_nodes_are_read() -> None:
    two, dead, engine = parse(TEXT)
    assert (two.name, two.driver, two.selected, two.last_activity) == (
        *("two", "docker-container", True),
        "2026-11-23T23:45:57Z",
    )
    first, second = two.nodes
    assert (first.platforms, first.fixed) == (("linux/arm64", "linux/amd64"), ("linux/arm64",))
    assert (first.driver_options, first.flags, first.labels) == ({"image": "a,\tb"}, ("--debug",), {"site": "here"})
    (rule,) = first.gc_rules
    assert (rule.all, rule.keep_duration, rule.max_used_space, rule.reserved_space) == (
        True,
        48 * 3600 * 10**9,
        100,
        10,
    )
    assert (second.status, second.error, second.fixed) == ("error", "no\nway", ())
    assert (dead.nodes, dead.error, dead.last_activity) == ((), "Cannot connect", "")
    assert [each.is_engine for each in (two, dead, engine)] == [False, True, True]
    assert parse("") == []


@pytest.mark.parametrize(
    ("builder", "status", "errors"),
    [
        (TWO, "running", ["two1: no\nway"]),
        (DEAD, "error", ["Cannot connect"]),
        (
            {**TWO, "Nodes": [{"Name": "a", "Status": "stopped"}, {"Name": "b", "Status": "inactive"}]},
            "inactive, stopped",
            [],
        ),
        ({**TWO, "Nodes": [{"Name": "a", "Status": "inactive"}, {"Name": "b", "Status": "inactive"}]}, "inactive", []),
    ],
)
def test_a_builders_state_is_that_of_its_nodes(builder: dict[str, object], status: str, errors: list[str]) -> None:
    found = ListedBuilder.model_validate(builder)
    assert (found.status, found.errors) == (status, errors)
