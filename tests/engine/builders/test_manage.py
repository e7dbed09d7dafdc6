"""`baseforge builder …` on running, stopped and broken builders; each test checks what exists afterwards."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import main
from rootfs.errors import BaseforgeError
from tests.support.factory import BASEFORGE, Done
from tests.support.services.buildkit import IMAGE, buildkitd
from tests.support.services.workshop import Workshop

OPTIONS = ("--driver-opt", f"image={IMAGE}", "--driver-opt", "network=none")
REFUSING = "tcp://127.0.0.1:1"


def builder(*words: str) -> Done:
    """What `baseforge builder` does, in this process; an error of the user's as the command line shows it."""
    result = CliRunner().invoke(main.app, ["builder", *words])
    if isinstance(result.exception, BaseforgeError):
        return Done(result.exception.status, result.stdout, result.stderr + str(result.exception), ("builder", *words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr, ("builder", *words))


def done(*words: str) -> Done:
    ended = builder(*words)
    assert ended.status == 0, ended.stderr
    return ended


def create(name: str, *words: str) -> None:
    assert done("create", "--name", name, *OPTIONS, *words).stdout == f"{name}\n"


def docker(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def place(workshop: Workshop) -> Iterator[Workshop]:
    """A workshop that is left as it was found: other tests share its engine."""
    before = workshop.leftovers()
    yield workshop
    for name in ("one", "two", "lost"):
        subprocess.run(["docker", "buildx", "rm", name], check=False, capture_output=True)
        for kind in (["rm", "--force"], ["volume", "rm", "--force"]):
            ending = "_state" if kind[0] == "volume" else ""
            subprocess.run(["docker", *kind, f"buildx_buildkit_{name}0{ending}"], check=False, capture_output=True)
    assert [left for left in workshop.leftovers() if left.startswith(("/buildx", "buildx"))] == before


def context(name: str, host: str) -> None:
    docker("context", "create", name, "--docker", f"host={host}")


def cells(table: str) -> list[list[str]]:
    """A table's rows, cut where its header's words begin."""
    header, *lines = table.partition("\n\n")[0].splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    ends = [*starts[1:], None]
    return [[line[a:b].rstrip() for a, b in zip(starts, ends, strict=True)] for line in (header, *lines)]


def names(place: Workshop) -> list[str]:
    return sorted(path.name for path in (place.buildx / "instances").glob("*"))


def selected() -> list[str]:
    return [each["name"] for each in done("list", "--json").json if each["selected"]]


def test_the_list_matches_buildx_ls(place: Workshop) -> None:
    context("again", os.environ["DOCKER_HOST"])
    context("doomed", os.environ["DOCKER_HOST"])
    create("one", "--bootstrap", "--use")
    create("two", "--platform", "linux/arm64,linux/arm/v7")
    done("create", "--append", "--name", "two", "--platform", "linux/riscv64", "again")
    done("create", "--name", "far", "--driver", "remote", REFUSING)
    create("lost", "doomed")
    docker("context", "update", "doomed", "--docker", f"host={REFUSING}")

    theirs = docker("buildx", "ls", "--no-trunc")
    ours = subprocess.run([BASEFORGE, "builder", "list"], check=True, capture_output=True, text=True)
    rows = cells(ours.stdout)
    assert rows == cells(theirs.stdout)
    said = {row[0]: row for row in rows}
    assert said["one*"][1:3] == ["docker-container", ""]
    assert said[r" \_ one0"][2] == "running"
    assert said[r" \_ two1"][1:] == [r" \_ again", "inactive", "", "linux/riscv64*"]
    assert said[r" \_ two0"][4] == "linux/arm64*, linux/arm/v7*"
    assert said[r" \_ lost0"][2] == said["doomed"][2] == "error"
    assert said[r" \_ far0"][2] == "inactive"

    reasons = ours.stdout.split("\n\n")[1].splitlines()
    assert len(reasons) == 2
    for name, reason in zip(("lost", "doomed"), reasons, strict=True):
        assert reason.startswith(f"{name} fails: ")
        assert "Cannot connect to the Docker daemon" in reason
    found = {each["name"]: each for each in done("list", "--json").json}
    assert "Cannot connect" in found["doomed"]["error"]
    assert "Cannot connect" in found["lost"]["nodes"][0]["error"]
    assert found["two"]["nodes"][0]["fixed"] == ["linux/arm64", "linux/arm/v7"]
    assert {name for name, each in found.items() if each["selected"]} == {"one"}
    assert done("inspect", "--json").json == found["one"]


def test_a_builder_is_shown_with_its_options_and_rules(place: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "a config.toml"
    config.write_text('[worker.oci.labels]\n  "site" = "here"\n')
    odd = ("--driver-opt", 'env.ODD=a,"b"=c d', "--buildkitd-config", str(config), "--buildkitd-flags", "--debug")
    create("one", *odd)
    assert done("inspect", "one", "--json").json["nodes"][0]["status"] == "inactive"
    started = done("inspect", "one", "--bootstrap", "--json")
    node = started.json["nodes"][0]
    assert node["driver_options"] == {"image": IMAGE, "network": "none", "env.ODD": 'a,"b"=c d'}
    assert (node["status"], node["labels"]["site"], "--debug" in node["flags"]) == ("running", "here", True)
    assert node["gc_rules"]
    assert "booting buildkit" in started.stderr
    environment = json.loads(docker("inspect", "--format", "{{json .Config.Env}}", "buildx_buildkit_one0").stdout)
    assert 'ODD=a,"b"=c d' in environment
    shown = done("inspect", "one").stdout
    for line in (r"endpoint +unix://", r"status +running", r"buildkit +v", r"options .*ODD", r"labels ", r"gc rule 0"):
        assert re.search(line, shown), line


REFUSED = [
    (["--driver", "docker"], "each engine has its own"),
    (["--driver", "kuberntes"], "Did you mean 'kubernetes'?"),
    (["--driver-opt", "imagine=1"], "invalid driver option imagine"),
    (["--driver-opt", "memory=much"], "invalid size: 'much'"),
    (["--driver-opt", "memory"], "write NAME=VALUE"),
    (["--buildkitd-config", "nowhere.toml"], "is not there: nowhere.toml"),
    (["--buildkitd-flags", "'--debug"], "No closing quotation"),
    (["--platform", "arm"], "'arm' is not a platform"),
    (["--driver", "remote"], "needs an 'endpoint'"),
    (["--driver", "remote", "http://127.0.0.1"], "unrecognized url scheme http"),
    (["--driver", "remote", "--driver-opt", "cacert=nowhere.pem", REFUSING], "is not there: nowhere.pem"),
    ([REFUSING], "Cannot connect to the Docker daemon"),
    (["--append"], "there is no builder 'one'"),
    (["--name", "1one"], "name needs to start with a letter"),
    (["--name", "default"], "there is a builder 'default' already"),
]


@pytest.mark.parametrize(("words", "reason"), REFUSED, ids=lambda value: " ".join(value) if value else "")
def test_invalid_builders_are_refused_and_nothing_is_created(place: Workshop, words: list[str], reason: str) -> None:
    ended = builder("create", "--name", "one", "--use", "--bootstrap", *words)
    assert (ended.status, ended.stdout) == (2, "")
    assert reason in ended.stderr
    assert names(place) == []
    assert selected() == ["default"]


def test_without_an_engine_the_machine_lacks_something(place: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", REFUSING)
    assert builder("create", "--name", "one").status == 3
    assert names(place) == []


def test_a_builder_that_does_not_start_is_removed(place: Workshop) -> None:
    ended = builder("create", "--name", "one", "--bootstrap", *OPTIONS, "--driver-opt", "network=nowhere")
    assert (ended.status, ended.stdout) == (1, "")
    assert "network nowhere not found" in ended.stderr
    assert names(place) == []


def test_a_refused_node_leaves_the_others_as_they_were(place: Workshop) -> None:
    context("again", os.environ["DOCKER_HOST"])
    create("one", "--platform", "linux/arm64", "--buildkitd-flags", "--debug")
    before = (place.buildx / "instances/one").read_text()
    assert before.count("arm64") == before.count("--debug") == 1
    for words, reason in (
        (["again", "--driver-opt", "imagine=1"], "invalid driver option imagine"),
        ([REFUSING], "Cannot connect"),
        (["--driver", "remote", REFUSING], "not 'remote'"),
        (["--node", "one0", "again"], "has a node 'one0' already"),
        ([], "invalid duplicate endpoint"),
    ):
        ended = builder("create", "--append", "--name", "one", *words)
        assert (ended.status, "trial" in ended.stderr) == (2, False)
        assert reason in ended.stderr
        assert names(place) == ["one"]
        assert (place.buildx / "instances/one").read_text() == before


def test_names_are_checked_first(place: Workshop) -> None:
    create("one")
    for command in ("use", "stop", "rm", "inspect"):
        ended = builder(command, "onne")
        assert (ended.status, "Did you mean 'one'?" in ended.stderr) == (2, True), command
    context("other", os.environ["DOCKER_HOST"])
    for words, reason in (
        (["rm", "one", "onne"], "there is no builder 'onne'"),
        (["rm", "one", "default"], "cannot be removed"),
        (["rm", "one", "other"], "cannot be removed"),
        (["rm"], "which builders"),
        (["rm", "one", "--all-inactive"], "which builders"),
        (["stop", "default"], "cannot be stopped"),
        (["use", "other"], "docker context use other"),
        (["du", "--builder", "other"], "docker context use other"),
        (["prune", "--builder", "one", "--filter", "untill=1h"], "Did you mean 'until'?"),
        (["prune", "--builder", "one", "--filter", "until=soon"], "'soon' is not a time"),
        (["prune", "--builder", "one", "--keep-storage", "much"], "'much' is not a size"),
    ):
        ended = builder(*words)
        assert (ended.status, reason in ended.stderr) == (2, True), (words, ended.stderr)
    assert names(place) == ["one"]


def test_a_removed_builder_is_no_longer_selected(place: Workshop) -> None:
    assert selected() == ["default"]
    create("one")
    done("use", "one")
    assert selected() == ["one"]
    done("rm", "one")
    assert (selected(), names(place)) == (["default"], [])
    create("one")
    assert selected() == ["default"]
    create("two", "--use")
    done("use", "default")
    assert selected() == ["default"]


def test_the_selection_is_the_contexts_and_the_default_follows_it(
    place: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    context("here", os.environ["DOCKER_HOST"])
    context("dead", REFUSING)
    monkeypatch.delenv("DOCKER_HOST")

    def after(name: str) -> str:
        docker("context", "use", name)
        (found,) = (each for each in done("list", "--json").json if each["selected"])
        return found["name"] if found["name"] == "one" else f"{found['name']}: {found['error'][:14]}"

    assert [after("here"), after("dead")] == ["here: ", "dead: Cannot connect"]
    assert done("inspect", "--json").json["name"] == "dead"
    docker("context", "use", "here")
    create("one")
    for words, there, back in (([], "dead", "here"), (["--default"], "dead", "one"), (["--global"], "one", "one")):
        done("use", "one", *words)
        assert after("dead").startswith(there), words
        assert after("here").startswith(back), words
    done("use", "here")
    assert after("here") == "here: "


def image(name: str, context: Path) -> None:
    docker("buildx", "build", "--builder", name, "--provenance=false", "--output", "type=cacheonly", context)


def test_the_cache_is_measured_and_cleared(place: Workshop, example: Path) -> None:
    create("one", "--bootstrap")
    create("two")
    done("create", "--name", "far", "--driver", "remote", REFUSING)
    image("one", example)
    mine = done("du", "--builder", "one", "--json").json
    (only,) = mine["builders"]
    assert only["total"] == mine["total"] == sum(record["size"] for record in only["records"]) > 0
    assert mine["reclaimable"] == sum(record["size"] for record in only["records"] if record["reclaimable"])
    assert {"regular", "source.local"} <= {record["type"] for record in only["records"]}
    total = re.search(r"^Total:\s+([\d.]+)MB", docker("buildx", "du", "--builder", "one").stdout, re.MULTILINE)
    assert total
    assert mine["total"] == pytest.approx(float(total[1]) * 1e6, rel=1e-3)

    each = {entry["builder"]: entry for entry in done("du", "--json").json["builders"]}
    assert list(each) == ["far", "one", "two", "default"]
    assert [name for name, entry in each.items() if entry["error"]] == ["far", "two"]
    assert each["two"]["error"] == "it does not run: its status is inactive"
    assert place.engine.client.api.containers(all=True, filters={"name": "two"}) == []
    shown = done("du").stdout
    assert cells(shown)[0] == ["BUILDER", "ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    assert re.search(r"^total +[\d.]+ MB", shown, re.MULTILINE)
    assert re.search(r"^two: it does not run", shown, re.MULTILINE)
    assert re.search(
        r"^description +\[1/1\] ADD hello /", done("du", "--builder", "one", "--verbose").stdout, re.MULTILINE
    )
    asleep = builder("du", "--builder", "two")
    assert (asleep.status, "inspect --bootstrap two" in asleep.stderr) == (1, True)

    done("use", "one")
    kept = done("prune", "--keep-storage", "1TB", "--json").json
    assert kept == {"builder": "one", "reclaimed": 0, "records": []}
    assert done("prune", "--filter", "until=24h", "--json").json["reclaimed"] == 0
    some = done("prune", "--filter", "type=regular", "--json").json
    regular = [record["size"] for record in only["records"] if record["type"] == "regular"]
    assert some["reclaimed"] == sum(regular) < mine["total"]
    assert re.search(r"^one: reclaimed [\d.]+ [kM]?B$", done("prune", "--all").stdout, re.MULTILINE)
    assert done("du", "--builder", "one", "--json").json["total"] == 0
    assert builder("prune", "--builder", "two").status == 1


def test_removing_a_local_builder_removes_its_cache(place: Workshop, example: Path) -> None:
    def there() -> list[str]:
        return [left for left in place.leftovers() if "one0" in left or left == "one"]

    container, volume = "/buildx_buildkit_one0", "buildx_buildkit_one0_state"
    create("one", "--bootstrap")
    image("one", example)
    assert there() == [container, volume, "one"]
    done("stop", "one")
    assert not place.engine.client.containers.list(filters={"name": "one0"})
    done("rm", "one", "--keep-state")
    assert there() == [volume]
    create("one", "--bootstrap")
    assert done("du", "--builder", "one", "--json").json["total"] > 0
    done("rm", "one", "--keep-daemon")
    assert there() == [container, volume]
    assert place.engine.client.containers.list(filters={"name": "one0"})
    create("one")
    assert done("stop", "one").stderr == "one: stopped\n"
    done("rm", "one")
    assert there() == []


def test_a_remote_builder_keeps_its_daemon_and_cache(place: Workshop, example: Path) -> None:
    with buildkitd() as daemon:
        done("create", "--name", "far", "--driver", "remote", "--use", "--bootstrap", daemon.address)
        image("far", example)
        before = done("du", "--builder", "far", "--json").json["builders"][0]["records"]
        assert before
        assert "not ours to stop" in done("stop").stderr
        assert done("inspect", "far", "--json").json["nodes"][0]["status"] == "running"
        done("rm", "far")
        assert (names(place), selected()) == ([], ["default"])
        done("create", "--name", "again", "--driver", "remote", daemon.address)
        after = done("du", "--builder", "again", "--json").json["builders"][0]["records"]
        assert sorted(record["id"] for record in after) == sorted(record["id"] for record in before)


def test_a_builder_out_of_reach_is_not_forgotten_unless_forced(place: Workshop) -> None:
    context("doomed", os.environ["DOCKER_HOST"])
    create("lost", "--bootstrap", "doomed")
    create("one")
    docker("context", "update", "doomed", "--docker", f"host={REFUSING}")
    refused = builder("rm", "lost", "one")
    assert (refused.status, names(place)) == (1, ["lost"])
    assert "Cannot connect" in refused.stderr
    assert "one: removed" in refused.stderr
    done("rm", "--all-inactive")
    assert names(place) == ["lost"]
    done("rm", "--all-inactive", "--force")
    assert names(place) == []
    assert "/buildx_buildkit_lost0" in place.leftovers()


def test_inactive_builders_can_be_removed_at_once(place: Workshop) -> None:
    create("one", "--bootstrap")
    create("two", "--bootstrap")
    done("stop", "two")
    done("create", "--name", "far", "--driver", "remote", REFUSING)
    said = done("rm", "--all-inactive").stderr
    assert said.splitlines() == ["far: removed", "two: removed"]
    assert names(place) == ["one"]
    assert not place.engine.client.api.volumes(filters={"name": "two0"})["Volumes"]


def test_a_builder_that_never_answers_does_not_delay_the_others(place: Workshop) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        done("create", "--name", "far", "--driver", "remote", address)
        silent.listen()
        began = time.monotonic()
        create("one")
        done("use", "one")
        done("stop", "one")
        done("rm", "one", "far")
        assert time.monotonic() - began < 15, "each waits for one that is none of its concern"


def test_json_is_all_there_is_on_standard_output(place: Workshop) -> None:
    words = ["inspect", "default", "--json"]
    ended = subprocess.run([BASEFORGE, "builder", *words], check=True, capture_output=True, text=True)
    assert json.loads(ended.stdout)["driver"] == "docker"
    wrong = subprocess.run([BASEFORGE, "builder", "use", "onne"], check=False, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("baseforge: there is no builder 'onne'")
