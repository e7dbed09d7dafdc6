"""How long a build of trixie minbase takes, as a ratio to the documented ways to a base image with the same engine.

(a) `debootstrap | tar | docker import | docker run`, (b) `mmdebstrap | docker import | docker run`. All in one
run on one machine, in turns; medians. Writes the table that README shows
to `tests/bench/building.md`; fails above a limit.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.factory import Factory
from tests.support.services.dockerd import dockerd

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
RESULTS = Path(__file__).with_suffix(".md")
RECIPE = "kind: debootstrap\nsuite: trixie\nimage: {cmd: [bash]}\nsmoke:\n  - run: ['true']\n"
FLEET = [
    "less",
    "nano-tiny",
    "file",
    "xz-utils",
    "procps",
    "lsof",
    "jq",
    "tree",
    "psmisc",
    "bc",
]  # one more package each
OWN_SHARE = 0.10  # of a cold build, at most
# Steps in which others work: apt resolves, the archive sends, the engine makes the tree (`early`: what of both was done
# while Prefect was loaded), Docker imports (`ahead`: while we pack; not counting when it waits for us) and runs.
THEIRS = ("resolve", "fetch", "tree", "early", "ahead", "import", "smoke")
LIMITS = {  # of (a), of (b)
    "cold: empty pool, empty store": (0.50, 1.0),
    "new lock, warm pool": (0.25, 0.60),
    "unchanged, within a night": (0.02, 0.04),
    "new lock, warm pool, essential packages unchanged": (0.12, 0.25),
    "10 recipes on one suite, warm pool, against 10 times (a)": (0.12, None),
}
COLD, WARM, UNCHANGED, ESSENTIAL, TEN = LIMITS


@dataclass
class Bench:
    """A site on an engine of its own, and the seconds measured so far, by case."""

    site: Factory
    folder: Path
    taken: dict[str, list[float]] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """Where the factory keeps what makes it faster."""
        return Path(self.site.environment["BASEFORGE_HOME"]) / "cache"

    def time(self, case: str, work: Callable[[], object], per: int = 1) -> None:
        """Measure one round of a case; no image of the round before is in the engine."""
        clear_engine()
        began = time.monotonic()
        work()
        self.taken.setdefault(case, []).append((time.monotonic() - began) / per)

    def run(self, *words: str) -> Any:
        """The command line, whole, from the start of its process to its end."""
        done = self.site.run(*words, "--json")
        assert done.status == 0, done.stderr
        return done.json

    def forget(self) -> None:
        """Let go of trees and frames. Debs stay without their compression, as a new lock has most of the old ones."""
        for tree in (self.cache / "kept").glob("*.tar"):
            tree.unlink()
        shutil.rmtree(self.cache / "frames", ignore_errors=True)

    def empty(self) -> None:
        """As on the first day: nothing in the store, the pool, the cache."""
        shutil.rmtree(self.site.folder / "store", ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)

    def median(self, case: str) -> float:
        """Seconds."""
        return statistics.median(self.taken[case])


def clear_engine() -> None:
    """Remove every image and container of the bench's own engine."""
    subprocess.run(["docker", "system", "prune", "--all", "--force"], check=True, capture_output=True)


def debootstrapped(folder: Path) -> None:
    """(a), as Docker's documentation on base images has it."""
    tree = tempfile.mkdtemp(prefix="debootstrap-", dir=folder)  # stays: ext4 makes files slowly after many were removed
    subprocess.run(["debootstrap", "--variant=minbase", "trixie", tree], check=True, capture_output=True)
    _imported(subprocess.Popen(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE))


def mmdebstrapped(folder: Path) -> None:
    """(b): mmdebstrap writes the tar itself."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "trixie", "-"]
    _imported(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder))


def _imported(tar: subprocess.Popen[bytes]) -> None:
    subprocess.run(["docker", "import", "-", "rival"], stdin=tar.stdout, check=True, capture_output=True)
    assert tar.wait() == 0
    subprocess.run(["docker", "run", "--rm", "rival", "true"], check=True)


def relocked(bench: Bench, number: int) -> None:
    """A lock that has not been seen: the same packages, vouched for by Release files of another moment."""
    lock = json.loads((bench.folder / "lock.json").read_text())
    for release in lock["releases"]:
        release["date"] -= number
    recipe = RECIPE + "lock: lock.json\n"
    bench.site.recipe("trixie", recipe, lock_json=json.dumps(lock))


def nights(bench: Bench, number: int) -> None:
    """New locks: first one of whose packages no tree was ever made, then one with the same essential packages."""
    bench.run("lock", "trixie", "--write", str(bench.folder / "lock.json"))
    relocked(bench, 2 * number)
    bench.forget()
    bench.time(WARM, lambda: changed(bench.run("build", "trixie")))
    relocked(bench, 2 * number + 1)
    bench.time(ESSENTIAL, lambda: changed(bench.run("build", "trixie")))


def rounds(bench: Bench) -> None:
    """Every case in turn, so often that medians mean something."""
    for number in range(1, ROUNDS + 1):
        bench.time("(a)", lambda: debootstrapped(bench.folder))
        bench.time("(b)", lambda: mmdebstrapped(bench.folder))
        bench.empty()
        bench.site.recipe("trixie", RECIPE)
        bench.time(COLD, lambda: changed(bench.run("build", "trixie")))
        bench.shares.append(own_share(bench.run("show", "trixie"), bench.taken[COLD][-1]))
        nights(bench, number)
        fleet(bench, number)


def fleet(bench: Bench, number: int) -> None:
    """Ten recipes: once to fill the pool, once as new images of the same packages, once more unchanged."""
    names = [f"fleet-{package}" for package in FLEET]
    only = [word for name in names for word in ("--only", name)]
    for stage in ("fill", "measure"):
        for name, package in zip(names, FLEET, strict=True):
            labels = f"image: {{labels: {{stage: {stage}, round: '{number}'}}}}\n"
            bench.site.recipe(name, RECIPE.replace("image: {cmd: [bash]}\n", labels) + f"include: [{package}]\n")
        bench.forget()
        if stage == "fill":
            bench.run("nightly", *only)
        else:
            bench.time(TEN, lambda: changed(bench.run("nightly", *only)["builds"]))
    bench.time(UNCHANGED, lambda: bench.run("nightly", *only), per=len(names))


def changed(records: list[dict[str, Any]]) -> None:
    """What was to be built has been."""
    assert {record["status"] for record in records} == {"published"}, records


def own_share(record: dict[str, Any], wall: float) -> float:
    """The part of a build that is neither apt's nor the archive's, the engine's or Docker's."""
    return 1 - sum(record["seconds"].get(step, 0.0) for step in THEIRS) / wall


def table(bench: Bench) -> list[str]:
    """The results in Markdown."""
    a, b = bench.median("(a)"), bench.median("(b)")
    lines = [
        f"trixie minbase, medians of {ROUNDS}; {os.cpu_count()} cores, {platform.machine()}, {datetime.now(UTC):%F}.",
        f"(a) `debootstrap | tar | docker import | docker run`: {a:.1f} s; "
        f"(b) `mmdebstrap | docker import | docker run`: {b:.1f} s.",
        "",
        "| case | seconds | of (a) | at most | of (b) | at most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case, (of_a, of_b) in LIMITS.items():
        took, against = bench.median(case), a * (len(FLEET) if case == TEN else 1)
        second = f"{took / b:.3f} | {of_b:g}" if of_b else " | "
        lines.append(f"| {case} | {took:.2f} | {took / against:.3f} | {of_a:g} | {second} |")
    share = statistics.median(bench.shares)
    return [*lines, "", f"Our own part of a cold build: {share:.0%} (at most {OWN_SHARE:.0%})."]


def too_slow(bench: Bench) -> list[str]:
    """The cases above their limit."""
    a, b, slow = bench.median("(a)"), bench.median("(b)"), []
    for case, (of_a, of_b) in LIMITS.items():
        took, against = bench.median(case), a * (len(FLEET) if case == TEN else 1)
        if took > of_a * against or (of_b and took > of_b * b):
            slow.append(case)
    return slow + ["our own part"] * (statistics.median(bench.shares) > OWN_SHARE)


def main() -> int:
    """Print and write the table; 1 when a limit is not kept."""
    # The engine's folder is in memory, for all alike: what a disk does late or twice would be in anybody's figures.
    with tempfile.TemporaryDirectory(prefix="bench-") as place, dockerd(place="/dev/shm") as daemon:
        os.environ["DOCKER_HOST"] = daemon.address
        bench = Bench(Factory(Path(place) / "site", {"BASEFORGE_MEMORY": "/dev/shm"}), Path(place))
        bench.site.folder.mkdir()
        bench.site.recipe("warm-up", RECIPE.replace("trixie", "bookworm"))
        bench.run("build", "warm-up")  # the Prefect server runs from here on
        (bench.site.recipes / "warm-up.yaml").unlink()
        rounds(bench)
        lines = table(bench)
        slow = too_slow(bench)
    RESULTS.write_text("\n".join([*lines, ""]))
    sys.stdout.write("\n".join([*lines, *(f"above the limit: {case}" for case in slow), ""]))
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
