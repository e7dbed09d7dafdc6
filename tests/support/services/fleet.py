"""Several machines that share a Prefect server on PostgreSQL, a work pool, a store in S3 and a registry."""

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
from tests.support.services.postgresql import PostgreSQL, serve_postgresql
from tests.support.services.prefect_server import PrefectServer, serve_prefect
from tests.support.services.registry import registry
from tests.support.services.s3 import S3Server, serve_s3

POOL = "night"
SLOWEST = 90.0  # seconds until a worker is online


@dataclass
class Fleet:
    """The machine that plans, which has the recipes, two workers, and what they share."""

    planner: Factory
    workers: tuple[Factory, Factory]
    server: PrefectServer
    database: PostgreSQL
    s3: S3Server

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

    def builds(self, image: str) -> int:
        """How many builds of an image the store has."""
        bucket = self.planner.settings["BASEFORGE_STORE"].split("/")[2]
        found = self.s3.client.list_objects_v2(Bucket=bucket, Prefix=f"images/images/{image}/builds/")
        return int(found["KeyCount"])

    def lose(self, site: Factory) -> None:
        """End everything that runs on a machine at once, as when its power fails."""
        mark = f"BASEFORGE_HOME={site.settings['BASEFORGE_HOME']}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

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
        yield Fleet(planner, (workers[0], workers[1]), server, database, s3)
        for each in sites:
            each.remove_images()
