"""Time nights over many recipes: what it costs to find out that nothing has changed, and to build what has.

The archive is a small one on loopback, and so are the images: a package without scripts each, and a smoke test. All of
them are built for real once; BENCH_RECIPES says how many (1,000). Prints a table, and fails above a limit.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.debian import POCKETS, SUITE, Archive, Deb, own_addresses, served, signer
from tests.support.factory import Factory
from tests.support.probe import build_probe
from tests.support.services.dockerd import dockerd
from tests.support.services.faulty import faulty_proxy
from tests.support.services.s3 import serve_s3

MANY = int(os.environ.get("BENCH_RECIPES", "1000"))
CHANGED = 200  # images of which each is built again, at most
SOME = 20  # images of a night whose growth of Prefect's database is measured
RESULTS = Path(__file__).with_suffix(".md")
RECIPE = """\
kind: scratch
suite: trixie
packages: [{package}]
image: {{labels: {{stage: '{stage}'}}}}
smoke: [{{run: [/usr/bin/app, say, hello]}}]
"""
UNCHANGED_LIMIT = 30.0  # seconds for 1,000 recipes
REQUESTS_LIMIT = 2.0  # of the store in S3, for an unchanged image


@dataclass
class Bench:
    """A site with an archive, and the rows of the table."""

    site: Factory
    archive: Archive
    program: bytes
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def publish(self, **versions: str) -> None:
        """Two packages that all images but one, and that one, have."""
        debs = [
            Deb(name, versions.get(name, "1"), "amd64", programs={"usr/bin/app": self.program})
            for name in ("app", "lone")
        ]
        self.archive.publish(*debs, date=datetime.now(UTC))

    def recipes(self, folder: str, count: int, stage: str = "one") -> str:
        """So many recipes in a folder of their own; one of them alone has the package `lone`."""
        made = self.site.folder / folder
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for number in range(count):
            text = RECIPE.format(package="app" if number else "lone", stage=stage)
            (made / f"image-{number}.yaml").write_text(text)
        return str(made)

    def night(self, *words: str, env: dict[str, str] | None = None) -> tuple[float, dict[str, Any]]:
        """Seconds of a whole command, and what it printed."""
        began = time.monotonic()
        done = self.site.run("nightly", *words, "--json", env=env or {})
        took = time.monotonic() - began
        assert done.status == 0, done.stderr[-3000:]
        return took, done.json

    def row(self, what: str, value: str, limit: str = "") -> None:
        self.rows.append((what, value, limit))
        sys.stdout.write(f"{what}: {value}\n")
        sys.stdout.flush()


def unchanged(bench: Bench) -> None:
    """Plans of more and more recipes, none of which has changed."""
    whole = bench.recipes("all", MANY)
    took, night = bench.night("--recipes", whole, env={"BASEFORGE_PARALLEL": "4"})
    bench.row(f"{MANY} new images, 4 at once", f"{took:.0f} s, {took / MANY:.2f} s an image")
    for part in (MANY // 4, MANY // 2, MANY):
        folder = bench.recipes("part", part)
        took, night = bench.night("--recipes", folder)
        assert night["summary"] == {"unchanged": part}, night["summary"]
        bench.row(f"{part} unchanged images", f"{took:.1f} s, {1000 * took / part:.1f} ms an image")
    bench.row(f"{MANY} unchanged images in all", f"{took:.1f} s", f"{UNCHANGED_LIMIT * MANY / 1000:.0f} s")
    if took > UNCHANGED_LIMIT * MANY / 1000:
        bench.failed.append(f"{MANY} unchanged images")
    bench.publish(lone="2")
    took, night = bench.night("--recipes", whole)
    assert night["summary"] == {"published": 1, "unchanged": MANY - 1}, night["summary"]
    bench.row(f"1 of {MANY} images changed", f"{took:.1f} s")


def side_by_side(bench: Bench) -> None:
    """As many changed images, built by more and more at once."""
    alone = 0.0
    for workers in (1, 2, 4):
        folder = bench.recipes("part", min(CHANGED, MANY), stage=f"by {workers}")
        took, night = bench.night("--recipes", folder, env={"BASEFORGE_PARALLEL": str(workers)})
        assert set(night["summary"]) == {"published"}, night["summary"]
        alone = alone or took
        bench.row(
            f"{min(CHANGED, MANY)} changed images, {workers} at once", f"{took:.0f} s, speed-up {alone / took:.2f}"
        )


def requests(bench: Bench) -> None:
    """Requests of a night over unchanged images to a store in S3."""
    with serve_s3(bench.site.folder / "s3") as server, faulty_proxy(server.endpoint) as proxy:
        bucket = server.make_bucket()
        there = {
            "BASEFORGE_STORE": f"s3://{bucket}/images",
            "BASEFORGE_S3_ENDPOINT": proxy.endpoint,
            **server.environment(),
        }
        counts = []
        for images in (SOME, 2 * SOME):
            folder = bench.recipes("part", images)
            bench.night("--recipes", folder, env=there)
            before = proxy.plan.seen
            bench.night("--recipes", folder, env=there)
            counts.append(proxy.plan.seen - before)
    each = (counts[1] - counts[0]) / SOME
    bench.row("requests to S3 for an unchanged image", f"{each:.1f}", f"{REQUESTS_LIMIT:.0f}")
    bench.row(f"requests to S3 of a night over {SOME} unchanged images", str(counts[0]))
    if each > REQUESTS_LIMIT:
        bench.failed.append("requests to S3")


def growth(bench: Bench) -> None:
    """Growth of the database of the local Prefect server by nights of changed and of unchanged images."""
    database = Path(bench.site.environment["BASEFORGE_HOME"]) / "prefect"

    def size() -> int:
        time.sleep(10)  # the server writes down what it was told some seconds later
        return sum(file.stat().st_size for file in database.glob("prefect.db*"))

    for stage, what in (("grown", "changed"), ("grown", "unchanged")):
        folder, before = bench.recipes("part", SOME, stage=stage), size()
        bench.night("--recipes", folder)
        bench.row(f"growth of Prefect's database by {SOME} {what} images", f"{(size() - before) // 1024} KiB")


def main() -> int:
    """Print the table; 1 when a limit is not kept."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        daemon = stack.enter_context(dockerd(place="/dev/shm"))
        key = stack.enter_context(signer(place / "keys"))
        server = stack.enter_context(served(place / "archive"))
        os.environ["DOCKER_HOST"] = daemon.address
        archive = Archive(place / "archive", key)
        for pocket in POCKETS:
            archive.publish(suite=f"{SUITE}-{pocket}")
        settings = {
            "BASEFORGE_MIRRORS": json.dumps(dict.fromkeys(own_addresses(), server.address)),
            "BASEFORGE_KEYRINGS": json.dumps({"debian": str(key.keyring)}),
        }
        bench = Bench(Factory(place / "site", settings), archive, build_probe(place).read_bytes())
        bench.publish()
        for measure in (unchanged, side_by_side, requests, growth):
            measure(bench)
        bench.site.run("stop")
    lines = [
        f"Nights over small images from a small local archive; {os.cpu_count()} cores, {platform.machine()}, "
        f"{datetime.now(UTC):%F}.",
        "",
        "| what | measured | at most |",
        "| --- | --- | --- |",
        *(f"| {what} | {value} | {limit} |" for what, value, limit in bench.rows),
    ]
    if "BENCH_RECIPES" not in os.environ:
        RESULTS.write_text("\n".join([*lines, ""]))
    sys.stdout.write("\n".join([*lines, "", *(f"{what}: above the limit" for what in bench.failed), ""]))
    return int(bool(bench.failed))


if __name__ == "__main__":
    sys.exit(main())
