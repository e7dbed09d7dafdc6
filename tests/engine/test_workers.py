"""A night over several machines: a shared Prefect server on PostgreSQL, two workers, and a store in S3."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.factory import Factory
from tests.support.outcome import complains
from tests.support.services.postgresql import serve_postgresql
from tests.support.services.prefect_server import PrefectServer, serve_prefect
from tests.support.services.registry import registry
from tests.support.services.s3 import serve_s3

POOL = "night"
SLOWEST = 90.0  # seconds until a worker is online


@dataclass
class Fleet:
    """The machine that plans, which has the recipes, two workers, and what they share."""

    planner: Factory
    workers: tuple[Factory, Factory]
    server: PrefectServer

    @contextlib.contextmanager
    def working(self, *workers: Factory) -> Iterator[list[subprocess.Popen[str]]]:
        """These workers, or both, from the moment that they are online until the block ends."""
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(self._worker(each)) for each in workers or self.workers]
            until = time.monotonic() + SLOWEST
            while len(self.online()) < len(running):
                assert time.monotonic() < until, "the workers are not online"
                time.sleep(0.2)
            yield running

    def online(self) -> list[str]:
        found = self.server.ask(f"work_pools/{POOL}/workers/filter")
        return [str(each["name"]) for each in found if each["status"] == "ONLINE"]

    @contextlib.contextmanager
    def _worker(self, site: Factory) -> Iterator[subprocess.Popen[str]]:
        with site.start("worker", "--name", site.folder.name) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid():
            each.chmod(each.stat().st_mode | 0o011)  # PostgreSQL runs as another user
    with (
        serve_postgresql(folder) as database,
        serve_prefect(folder, database) as server,
        registry(folder / "registry") as address,
        serve_s3(folder / "s3") as s3,
    ):
        shared = {
            **server.client,
            **s3.environment(),
            "BASEFORGE_STORE": f"s3://{s3.make_bucket()}/images",
            "BASEFORGE_S3_ENDPOINT": s3.endpoint,
            "BASEFORGE_REGISTRY": address,
            "BASEFORGE_REGISTRY_INSECURE": "true",
            "BASEFORGE_WORK_POOL": POOL,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        sites = []
        for name in ("planner", "first", "second"):
            own = {"BASEFORGE_HOME": str(folder / f"{name}.home"), "BASEFORGE_LOCAL_NAME": f"fleet-{name}"}
            sites.append(
                Factory(folder / name, {**shared, **own, "BASEFORGE_RECIPES": str(folder / "planner/recipes")})
            )
        planner, *workers = sites
        planner.folder.mkdir()
        planner.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: tiny}]\n")
        done = planner.run("deploy")
        assert done.status == 0, done.stderr
        assert {"image/image", "nightly/nightly"} <= set(done.stdout.split())
        yield Fleet(planner, (workers[0], workers[1]), server)
        for each in sites:
            each.remove_images()


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
