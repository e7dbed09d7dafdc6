"""A night, and flows that are started through the API of a served deployment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Api, Factory
from tests.support.services.buildkit import IMAGE
from tests.support.services.workshop import Workshop

OWN = f"""
builder = "own"
[builders.own]
lifecycle = "ephemeral"
options = {{ image = "{IMAGE}", network = "none" }}
"""
SLOWEST = 120.0  # seconds until a run has ended
BROKEN = "kind: scratch\nfiles:\n  - {path: /x, from: x}\nbuild:\n  - [sh, -c, 'echo no compiler >&2; exit 9']\n"


@pytest.fixture
def site(tmp_path: Path) -> Factory:
    factory = Factory(tmp_path, {"BASEFORGE_LOCAL_NAME": "baseforge-night"})
    factory.shelf("hello")
    return factory


def test_a_night_goes_on_when_one_fails_and_skips_what_is_unchanged(site):
    site.recipe("broken", BROKEN)
    site.recipe("wrong", "kind: scratch\nfile: []\n")
    one = site.run("nightly", "--json")
    assert one.status == 1
    assert one.json["summary"] == {"failed": 2, "published": 1}
    reasons = {record["image"]: record["reason"] for record in one.json["builds"]}
    assert "no compiler" in reasons["broken"]
    assert "wrong.yaml:2:1" in reasons["wrong"]
    assert site.run("nightly", "--json").json["summary"] == {"failed": 2, "unchanged": 1}
    only = site.run("nightly", "--only", "hello")
    assert (only.status, only.stdout) == (0, "")
    assert "night: 1 unchanged" in only.stderr
    assert site.leftovers() == []


def test_a_night_without_an_engine_says_so_for_each_image(site: Factory) -> None:
    done = site.run("nightly", "--json", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert (done.status, done.json["summary"]) == (1, {"failed": 1})
    assert "/nowhere/docker.sock" in done.json["builds"][0]["reason"]
    assert "housekeeping failed" in done.stderr


def test_a_command_acquires_a_builder_once(site: Factory, workshop: Workshop) -> None:
    site.recipe("other", "kind: scratch\nfiles: [{path: /motd, content: other}]\n")
    (site.folder / "baseforge.toml").write_text(OWN)
    done = site.run("nightly", "--json")
    assert done.status == 0, done.stderr
    assert done.json["summary"] == {"published": 2}
    for step in ("acquire", "bootstrap", "release"):
        assert done.stderr.count(f"✓ {step} docker-container") == 1
    [one, other] = [record["builder"] for record in done.json["builds"]]
    assert one == other
    assert (one["driver"], one["why"]) == ("docker-container", "the setting `builder`")
    assert done.json["seconds"]["release"] > 0
    assert sorted("acquire" in record["seconds"] for record in done.json["builds"]) == [False, True]  # side by side
    done = site.run("build", "hello", "other", "--force", "--json")
    assert {record["status"] for record in done.json} == {"published"}, done.stderr
    for step in ("acquire", "bootstrap", "release"):
        assert done.stderr.count(f"✓ {step} docker-container") == 1
    assert workshop.leftovers() == []
    assert site.leftovers() == []


def test_a_person_starts_a_build_through_the_api_and_the_night_is_scheduled(site: Factory) -> None:
    with site.served():
        api = site.api
        deployment = api.ask("GET", "deployments/name/build/build")
        scheduled = {"flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}
        nights = api.ask("POST", "flow_runs/filter", {"deployments": {"name": {"any_": ["nightly"]}}, **scheduled})
        assert {night["expected_start_time"][11:] for night in nights} == {"02:00:00Z"}
        order = f"deployments/{deployment['id']}/create_flow_run"
        assert "image" in api.refuses(order, {"parameters": {"image": ["hello"]}})
        assert "forced" in api.refuses(order, {"parameters": {"image": "hello", "options": {"forced": True}}})
        unknown = ended(api, api.ask("POST", order, {"parameters": {"image": "helo"}}))
        assert (unknown["type"], "hello" in unknown["message"]) == ("FAILED", True), unknown
        run = api.ask("POST", order, {"parameters": {"image": "hello"}})
        assert ended(api, run)["type"] == "COMPLETED"
        assert [build.split("@")[0] for build in site.builds()] == ["hello"]
        assert api.recorded(run["id"], {"pack hello/amd64", "smoke hello/amd64", "record hello"})
        artifacts = api.ask("POST", "artifacts/filter", {"artifacts": {"key": {"any_": ["build-hello"]}}})
        assert artifacts[0]["type"] == "table"


def ended(api: Api, run: dict[str, Any]) -> dict[str, Any]:
    """The state in which a run ends."""
    until = time.monotonic() + SLOWEST
    while True:
        state: dict[str, Any] = api.ask("GET", f"flow_runs/{run['id']}")["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        assert time.monotonic() < until, state
        time.sleep(0.2)
