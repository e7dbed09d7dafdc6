"""The life cycle of builders, with a fake docker command."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.builders import lifecycle as life
from flows.builders import remote
from flows.builders.errors import BuilderFailed, BuildxMissing
from flows.builders.lifecycle import AcquiredBuilder, acquire, name_of, remove, remove_all, replacement_plan, start
from rootfs.errors import InputError, MachineError
from rootfs.recipe.builder import BuilderPlan, existing_builder
from tests.unit.flows.builders.conftest import Stub, listing

FAR = "unix:///far.sock"
FULL: dict[str, Any] = {
    "driver": "docker-container",
    "endpoint": "my-context",
    "options": {"image": "x", "env.A": "a,b"},
    "config": "/etc/buildkitd.toml",
    "flags": ("--debug", "--oci-worker-gc=false"),
    "platforms": ("linux/amd64", "linux/arm64"),
}
CREATED = (
    ' --driver docker-container --driver-opt image=x --driver-opt "env.A=a,b"'
    " --buildkitd-flags --debug --oci-worker-gc=false{label} --buildkitd-config /etc/buildkitd.toml"
    " --platform linux/amd64,linux/arm64 -- my-context"
)


def planned(lifecycle: str = "ephemeral", **more: Any) -> BuilderPlan:
    return BuilderPlan.model_validate({"lifecycle": lifecycle, **more})


def far(lifecycle: str = "ephemeral", **more: Any) -> BuilderPlan:
    """One whose driver has nothing to do but what buildx does."""
    return planned(lifecycle, driver="remote", endpoint=FAR, **more)


def test_an_ephemeral_builder_is_created_and_removed(docker: Stub) -> None:
    calls = docker("echo said; echo 'BuildKit version: v0.34.2'")
    log: list[str] = []
    taken = acquire(far(), "remote", "run", 2, log.append)
    assert taken == AcquiredBuilder("baseforge-run-2x", "remote", far(), ours=True)
    assert start(taken, log.append) == "v0.34.2"
    remove(taken.name, taken.driver)
    assert calls.read_text().splitlines() == [
        f"buildx create --name baseforge-run-2x --driver remote -- {FAR}",
        "buildx inspect --bootstrap baseforge-run-2x",
        "buildx rm --force baseforge-run-2x",
    ]
    assert log == ["said", "BuildKit version: v0.34.2"] * 2


def test_every_key_of_a_plan_becomes_an_option(docker: Stub) -> None:
    calls = docker("true")
    acquire(planned(**FULL), "docker-container", "run", 1, print)
    label = " --oci-worker-labels=baseforge.run=run"
    assert calls.read_text() == "buildx create --name baseforge-run-1x" + CREATED.format(label=label) + "\n"


def test_a_persistent_builder_has_no_label_of_a_run(docker: Stub) -> None:
    calls = docker("true")
    plan = planned("persistent", name="kept", **FULL)
    assert acquire(plan, plan.driver, "run", 1, print) == AcquiredBuilder("kept", "docker-container", plan)
    assert calls.read_text().splitlines()[-1] == "buildx create --name kept" + CREATED.format(label="")


def test_a_persistent_builder_that_several_want_at_once_is_created_by_the_first(docker: Stub, tmp_path: Path) -> None:
    there, node = tmp_path / "there", {"Name": "kept0", "Endpoint": FAR}
    new = json.dumps({"Name": "kept", "Driver": "remote", "Nodes": [node]})
    docker(
        f"""case $2 in
        ls) [ ! -e {there} ] || cat {there} ;;
        create) sleep 0.3; [ ! -e {there} ] || exit 1; printf '%s\\t\\n%s\\t\\n' '{new}' '{new}' >{there} ;;
        esac"""
    )
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(acquire, far("persistent", name="kept"), "remote", "run", 1, print) for _ in range(3)]
    assert {each.result().name for each in found} == {"kept"}


def test_a_folder_of_builders_that_cannot_be_written_to_is_named(docker: Stub, tmp_path: Path) -> None:
    docker("true")
    (tmp_path / "docker").touch()
    with pytest.raises(MachineError, match="buildx cannot keep builders here: Not a directory") as caught:
        acquire(far("persistent", name="kept"), "remote", "run", 1, print)
    assert caught.value.where == str(tmp_path / "docker/buildx")


def test_an_existing_builder_is_used_unchanged(docker: Stub) -> None:
    calls = docker("exit 1")
    assert acquire(existing_builder("big"), "kubernetes", "run", 1, print) == AcquiredBuilder(
        "big", "kubernetes", existing_builder("big")
    )
    assert not calls.exists()


@pytest.mark.parametrize(
    ("driver", "endpoint", "options", "same"),
    [
        ("remote", FAR, {"servername": "a"}, True),
        ("remote", FAR, {"servername": "b"}, False),
        ("remote", FAR, {}, False),
        ("remote", FAR, {"servername": "a", "cacert": "x"}, False),
        ("remote", "unix:///other.sock", {"servername": "a"}, False),
        ("kubernetes", FAR, {"servername": "a"}, False),
    ],
)
def test_a_persistent_builder_must_match_its_description(
    driver: str, endpoint: str, options: dict[str, str], same: bool, docker: Stub
) -> None:
    node = {"Name": "kept0", "Endpoint": endpoint, "DriverOpts": options}
    calls = docker(listing({"Name": "kept", "Driver": driver, "Nodes": [node]}))
    plan = far("persistent", name="kept", options={"servername": "a"})
    if same:
        assert acquire(plan, "remote", "run", 1, print).name == "kept"
    else:
        with pytest.raises(InputError, match="with another driver, address or other options") as caught:
            acquire(plan, "remote", "run", 1, print)
        assert (caught.value.status, caught.value.where) == (2, "builder kept")
        assert "baseforge builder rm kept" in caught.value.hint
    assert "create" not in calls.read_text()


def test_a_builder_that_buildx_refuses_is_reported(docker: Stub) -> None:
    docker('[ "$2" = version ] || { echo "#1 ERROR: x"; echo "ERROR: it rains"; exit 1; }')
    with pytest.raises(InputError, match="cannot be created: it rains\n") as caught:
        acquire(far(), "remote", "run", 1, print)
    assert (caught.value.status, caught.value.where) == (2, "builder baseforge-run-1x (remote)")


def test_a_docker_command_without_buildx(docker: Stub) -> None:
    docker("echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    with pytest.raises(BuildxMissing):
        acquire(far(), "remote", "run", 1, print)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('[ "$2" = version ] || { echo "#1 ERROR: x"; echo "ERROR: it rains"; exit 1; }', "starting failed: it rains"),
        ('printf "Name: x\\n\\nNodes:\\nName: x0\\nError:  no route\\nStatus: off\\n"', "starting failed: no route"),
        ("sleep 60", "starting failed: it took more than 0.3 s"),
    ],
)
def test_a_builder_that_does_not_start_says_why(script: str, said: str, docker: Stub) -> None:
    docker(script)
    with pytest.raises(BuilderFailed, match=said) as caught:
        start(AcquiredBuilder("mine", "remote", far(timeout=0.3)), print)
    assert caught.value.where == "builder mine (remote)"


def test_a_driver_explains_why_a_builder_does_not_start(docker: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "explain", lambda name, plan: f"{name} has no room")
    docker('[ "$2" = version ] || { echo "ERROR: expected 1 replicas"; exit 1; }')
    with pytest.raises(BuilderFailed, match="starting failed: mine has no room"):
        start(AcquiredBuilder("mine", "remote", far()), print)


@pytest.mark.parametrize(
    "version", ["v0.11.0", "v0.11.0-rc1", "v0.34.2", "v1.0.0", "v0.0.0+unknown", "23.0.1", "a1b2c3d"]
)
def test_a_new_enough_buildkit_is_accepted(version: str, docker: Stub) -> None:
    docker(f"echo 'BuildKit version: {version}'")
    assert start(AcquiredBuilder("mine", "remote", far()), print) == version


@pytest.mark.parametrize("versions", [["v0.10.6"], ["v0.9.0"], ["v0.10.0-rc1"], ["0.8.3"], ["v0.34.2", "v0.10.6"]])
def test_an_old_buildkit_is_refused(versions: list[str], docker: Stub) -> None:
    docker("\n".join(f"echo 'BuildKit version: {version}'" for version in versions))
    with pytest.raises(MachineError, match=f"BuildKit is {versions[-1]}; 0.11 is the oldest") as caught:
        start(AcquiredBuilder("mine", "remote", far()), print)
    assert (caught.value.status, caught.value.where) == (3, "builder mine (remote)")


def test_the_versions_of_all_nodes_are_checked(docker: Stub) -> None:
    docker('for version in v0.34.2 v0.30.0 v0.34.2; do echo "BuildKit version: $version"; done')
    assert start(AcquiredBuilder("mine", "remote", far()), print) == "v0.34.2, v0.30.0"


def test_the_engine_has_nothing_to_start(docker: Stub) -> None:
    calls = docker("exit 1")
    assert start(AcquiredBuilder("default", "docker", existing_builder("default")), print) == ""
    assert not calls.exists()


KEPT = planned("persistent", name="kept", **FULL)


@pytest.mark.parametrize(
    ("taken", "plan"),
    [
        (AcquiredBuilder("default", "docker", existing_builder("default")), None),
        (AcquiredBuilder("there", "remote", existing_builder("there")), None),
        (AcquiredBuilder("mine", "remote", far("persistent", name="mine")), None),
        (AcquiredBuilder("kept", "docker-container", KEPT), planned(**FULL)),
        (AcquiredBuilder("ours", "docker-container", planned(**FULL), ours=True), planned(**FULL)),
        (
            AcquiredBuilder("pods", "kubernetes", planned("persistent", name="pods", driver="kubernetes", timeout=9)),
            planned(driver="kubernetes", timeout=9),
        ),
    ],
)
def test_a_replacement_builder_is_ephemeral(taken: AcquiredBuilder, plan: BuilderPlan | None) -> None:
    assert replacement_plan(taken) == plan


@pytest.mark.parametrize(
    ("driver", "endpoint", "same"),
    [("docker-container", "my-context", "my-context"), ("kubernetes", "kubernetes:///big?deployment=big0", "")],
)
def test_a_replacement_has_the_options_of_the_existing_builder(
    driver: str, endpoint: str, same: str, docker: Stub
) -> None:
    node = {"Name": "big0", "Endpoint": endpoint, "DriverOpts": {"image": "x"}, "Flags": ["--debug"]}
    docker(listing({"Name": "big", "Driver": driver, "Nodes": [node]}))
    taken = AcquiredBuilder("big", driver, planned("existing", name="big", timeout=9))
    described = {"driver": driver, "endpoint": same, "options": {"image": "x"}, "flags": ("--debug",), "timeout": 9}
    assert replacement_plan(taken) == planned(**described)


@pytest.mark.parametrize("known", [[], [{"Name": "big", "Driver": "kubernetes", "Err": "gone"}]])
def test_an_unknown_builder_has_no_replacement(known: list[dict[str, str]], docker: Stub) -> None:
    docker(listing(*known))
    assert replacement_plan(AcquiredBuilder("big", "kubernetes", existing_builder("big"))) is None


def test_a_builder_that_cannot_be_removed_is_left_to_housekeeping(docker: Stub) -> None:
    calls = docker('[ "$2" = version ] || { echo "ERROR: $2"; exit 1; }')
    remove("mine", "remote")
    assert calls.read_text().splitlines()[0] == "buildx rm --force mine"


def test_only_the_builders_of_the_given_runs_are_removed(docker: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    class Driver:
        def remove_leftovers(self, prefix: str, *, late: bool = False) -> None:
            asked.append((prefix, late))

    for driver in life.DRIVERS:
        monkeypatch.setitem(life.DRIVERS, driver, Driver())
    names = ["baseforge-a-1x", "baseforge-a-2x", "baseforge-b-1x", "baseforge-c-1x", "baseforge-aa-1x", "mine"]
    calls = docker(listing(*({"Name": name, "Driver": "remote"} for name in names)))
    remove_all(["a", "b"])
    removed = [line for line in calls.read_text().splitlines() if " rm " in line]
    assert removed == [f"buildx rm --force {name}" for name in names[:3]]
    assert asked == [("baseforge-a-", False)] * 3 + [("baseforge-b-", False)] * 3


@given(st.tuples(st.uuids(), st.integers(1, 99)), st.tuples(st.uuids(), st.integers(1, 99)), st.integers(0, 99))
def test_no_builder_name_is_the_start_of_another_one_s_node(
    one: tuple[uuid.UUID, int], two: tuple[uuid.UUID, int], node: int
) -> None:
    for first, second in ((one, two), ((one[0], one[1]), (one[0], two[1]))):
        if first != second:
            name = name_of(str(first[0]), first[1])
            assert not f"{name_of(str(second[0]), second[1])}{node}".startswith(name)
