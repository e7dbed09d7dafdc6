"""However a run ends, nothing of its ephemeral builder is left: no container, volume, deployment or buildx entry."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import recipes
from tests.support.factory import Api, Factory
from tests.support.outcome import complains, start, stop
from tests.support.parameters import some_in_full
from tests.support.services.buildkit import IMAGE
from tests.support.services.kubernetes import GONE, Cluster
from tests.support.services.workshop import Workshop

SLOWEST = 120.0
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PLANS = {
    "docker-container": f'options = {{image = "{IMAGE}", network = "none"}}',
    "kubernetes": f'driver = "kubernetes"\noptions = {{image = "{IMAGE}"}}',
}
BROKEN = {
    "docker-container": 'options = {image = "localhost:1/nothing", network = "none"}',
    "kubernetes": 'driver = "kubernetes"\ntimeout = 4\noptions = {image = "localhost:1/nothing"}',
}


@dataclass(frozen=True)
class Place:
    """A site whose images go through ephemeral builders of one driver."""

    site: Factory
    driver: str
    workshop: Workshop
    cluster: Cluster | None

    def builder_is_there(self, _said: str = "") -> bool:
        """Whether what runs BuildKit has come to be."""
        if self.cluster:
            return bool(self.cluster.get("deployments"))
        return any("buildx_buildkit_baseforge-" in name for name in self.workshop.leftovers())

    def left(self) -> list[str]:
        """All that is there of builders and of runs."""
        pods = self.cluster.leftovers(wait=GONE) if self.cluster else []
        return [*self.workshop.leftovers(), *pods, *self.site.leftovers()]

    def wait(self) -> None:
        """Until nothing is left."""
        until = time.monotonic() + SLOWEST
        while left := self.left():
            assert time.monotonic() < until, left
            time.sleep(0.1)


# Success, a killed command and a cancel show for Kubernetes what the rest shows for both drivers.
IN_FULL = pytest.mark.parametrize("place", some_in_full(list(PLANS), "kubernetes"), indirect=True)


@pytest.fixture(params=list(PLANS))
def place(request: Any, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    driver = str(request.param)
    cluster = request.getfixturevalue("cluster") if driver == "kubernetes" else None
    if cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    site = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-endings"})
    site.folder.mkdir()
    recipes.random_data(site, "large", 60)
    describe(site, PLANS[driver])
    made = Place(site, driver, workshop, cluster)
    yield made
    assert made.left() == []


def describe(site: Factory, plan: str) -> None:
    (site.folder / "baseforge.toml").write_text(f'builder = "own"\n[builders.own]\nlifecycle = "ephemeral"\n{plan}\n')


def test_success(place: Place) -> None:
    done = place.site.run("build", "large", "--no-publish", "--json")
    assert done.status == 0, done.stderr
    [record] = done.json
    assert record["builder"]["driver"] == place.driver
    assert record["builder"]["name"].startswith("baseforge-")
    assert {"acquire", "bootstrap", "import", "release"} <= record["seconds"].keys()


@IN_FULL
def test_failure(place: Place) -> None:
    describe(place.site, BROKEN[place.driver])
    done = place.site.run("build", "large", "--no-publish")
    complains(done, 1, "starting failed", "localhost:1")


@IN_FULL
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt(place: Place, number: signal.Signals) -> None:
    running = start(place.site, "build", "large", "--no-publish")
    complains(stop(running, place.builder_is_there, number, pause=0.3), 130, "interrupted")


def test_a_killed_command_and_the_next_housekeeping(place: Place) -> None:
    killed(place)
    done = place.site.run("gc", "--json")
    assert (done.status, len(done.json["runs"])) == (0, 1), done.stderr


@IN_FULL
def test_a_killed_command_whose_work_folder_is_gone(place: Place) -> None:
    """As after a restart of the machine: then it is Prefect that knows whether the run has ended."""
    killed(place)
    [folder] = [path for path in place.site.runs.iterdir() if path.is_dir()]
    run = folder.name
    subprocess.run(["rm", "-r", place.site.runs], check=True)
    assert place.site.run("gc", "--json").json == {"runs": []}  # it may be another machine's, and at work
    place.site.api.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
    assert place.site.run("gc", "--json").json == {"runs": [run]}


def killed(place: Place) -> None:
    with (running := start(place.site, "build", "large", "--no-publish")).process:
        running.until(place.builder_is_there)
        time.sleep(0.3)
        running.process.kill()
        running.end(5)
    assert place.builder_is_there()


@dataclass(frozen=True)
class Served:
    """`baseforge serve` with a build that runs in a process of its own."""

    process: subprocess.Popen[str]
    api: Api
    run: str

    def state(self) -> dict[str, Any]:
        return dict(self.api.ask("GET", f"flow_runs/{self.run}")["state"])

    def flow(self) -> int:
        """The process of the flow."""
        [child] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def ends(self, state: str) -> None:
        until = time.monotonic() + SLOWEST
        while (found := self.state())["type"] not in FINAL:
            assert time.monotonic() < until, found
            time.sleep(0.2)
        assert found["type"] == state, found


@pytest.fixture
def served(place: Place) -> Iterator[Served]:
    """A served build whose builder has come to be."""
    with place.site.served(env={"PREFECT_RUNNER_POLL_FREQUENCY": "1"}) as process:
        api = place.site.api
        deployment = api.ask("GET", "deployments/name/build/build")["id"]
        parameters = {"parameters": {"image": "large", "options": {"publish": False}}}
        made = api.ask("POST", f"deployments/{deployment}/create_flow_run", parameters)
        served = Served(process, api, made["id"])
        while not place.builder_is_there():
            assert served.state()["type"] not in FINAL, served.state()
            time.sleep(0.1)
        yield served


def test_a_cancel_in_prefect_s_pages(place: Place, served: Served) -> None:
    cancel = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    served.api.ask("POST", f"flow_runs/{served.run}/set_state", cancel)
    served.ends("CANCELLED")
    place.wait()


@IN_FULL
def test_a_flow_whose_process_is_killed(place: Place, served: Served) -> None:
    subprocess.run(["kill", "-KILL", str(served.flow())], check=True)
    served.ends("CRASHED")
    place.wait()


@IN_FULL
def test_a_runner_that_is_killed_with_its_flow_and_the_next_housekeeping(place: Place, served: Served) -> None:
    flow = served.flow()
    served.process.kill()
    subprocess.run(["kill", "-KILL", str(flow)], check=True)
    served.process.wait(10)
    time.sleep(0.5)
    assert place.builder_is_there()
    done = place.site.run("gc", "--json")
    assert (done.status, done.json["runs"]) == (0, [served.run]), done.stderr
