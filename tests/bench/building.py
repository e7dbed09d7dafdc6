"""How long builds take, as ratios to the documented ways to a base image with the same engine, on one machine.

    tests/run bench building [CASE…]       (cold, new-lock, essential, unchanged, ten, hundred; all without a word)

(a) is `debootstrap | tar | docker import | docker run`, (b) is `mmdebstrap | docker import | docker run`, both of
trixie minbase. Everything runs in turns in each round; figures are medians of the rounds (`BENCH_ROUNDS`, at least 3).
A run of all cases writes the table that README shows to `tests/bench/building.md`. It fails above a limit.
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
MANY = 100  # unchanged recipes of a night
A, B = "(a)", "(b)"
COLD, NEW_LOCK, ESSENTIAL, UNCHANGED, TEN, HUNDRED = CASES = (
    "cold",
    "new-lock",
    "essential",
    "unchanged",
    "ten",
    "hundred",
)


@dataclass(frozen=True)
class Limit:
    """What a case is, the unit of its seconds, and its limits: the ratios to `against` times (a), and to (b)."""

    what: str
    unit: str
    of_a: float
    of_b: float | None = None
    against: int = 1


LIMITS = {
    COLD: Limit("one image, cold: empty pool, empty store", "one command", 0.50, 0.85),
    NEW_LOCK: Limit("one image, new lock, warm pool", "one command", 0.30, 0.52),
    ESSENTIAL: Limit("one image, new lock, essential packages unchanged", "one command", 0.15, 0.25),
    UNCHANGED: Limit("one unchanged image, no process left behind", "one command", 0.03, 0.05),
    TEN: Limit(
        f"{len(FLEET)} changed recipes on one suite, warm pool",
        f"one command, against {len(FLEET)} times (a)",
        0.09,
        against=len(FLEET),
    ),
    HUNDRED: Limit(f"{MANY} unchanged recipes, the whole `nightly` command", f"per image of {MANY}", 0.004),
}


@dataclass
class Bench:
    """A site on an engine of its own, and the seconds measured so far, by case."""

    site: Factory
    folder: Path
    taken: dict[str, list[float]] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """Where the factory keeps what makes it faster."""
        return Path(self.site.environment["BASEFORGE_HOME"]) / "cache"

    def time(self, case: str, work: Callable[[], object], per: int = 1, *, clear: bool = True) -> None:
        """Measure one round of a case. Unless it needs them, no image of the round before is in the engine."""
        if clear:
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


def new_locks(bench: Bench, number: int) -> None:
    """First a lock of whose packages no tree was ever made, then one with the same essential packages."""
    bench.run("lock", "trixie", "--write", str(bench.folder / "lock.json"))
    relocked(bench, 2 * number)
    bench.forget()
    bench.time(NEW_LOCK, lambda: changed(bench.run("build", "trixie")))
    relocked(bench, 2 * number + 1)
    bench.time(ESSENTIAL, lambda: changed(bench.run("build", "trixie")))


def one_image(bench: Bench, number: int, cases: set[str]) -> None:
    """One recipe: built from nothing, then unchanged, then with new locks."""
    bench.site.recipe("trixie", RECIPE)
    if COLD in cases:
        bench.empty()
        bench.time(COLD, lambda: changed(bench.run("build", "trixie")))
    else:
        bench.run("build", "trixie")
    if UNCHANGED in cases:
        bench.run("build", "trixie")  # which gives the engine the name that the round before has taken away
        bench.time(UNCHANGED, lambda: unchanged(bench.run("build", "trixie")), clear=False)
    if {NEW_LOCK, ESSENTIAL} & cases:
        new_locks(bench, number)


def ten(bench: Bench, number: int) -> None:
    """Ten recipes: once to fill the pool, and once as new images of the same packages."""
    names = [f"fleet-{package}" for package in FLEET]
    only = [word for name in names for word in ("--only", name)]
    for stage in ("fill", "measure"):
        for name, package in zip(names, FLEET, strict=True):
            bench.site.recipe(name, labelled(f"{stage}-{number}") + f"include: [{package}]\n")
        bench.forget()
        if stage == "fill":
            bench.run("nightly", *only)
        else:
            bench.time(TEN, lambda: changed(bench.run("nightly", *only)["builds"]))
    for name in names:
        (bench.site.recipes / f"{name}.yaml").unlink()


def hundred(bench: Bench) -> None:
    """As many recipes as a large site has, all unchanged: they are built once, and then looked up in each round."""
    for number in range(MANY):
        package = FLEET[number % len(FLEET)]
        bench.site.recipe(f"many-{number}", labelled(str(number)) + f"include: [{package}]\n")
    bench.run("nightly")
    for _ in range(ROUNDS):
        bench.time(HUNDRED, lambda: unchanged(bench.run("nightly")["builds"]), per=MANY, clear=False)


def labelled(stage: str) -> str:
    """The recipe with a label, which makes another image of the same packages."""
    return RECIPE.replace("image: {cmd: [bash]}\n", f"image: {{labels: {{stage: '{stage}'}}}}\n")


def rounds(bench: Bench, cases: set[str]) -> None:
    """Every case in turn, so often that medians mean something."""
    for number in range(1, ROUNDS + 1):
        bench.time(A, lambda: debootstrapped(bench.folder))
        bench.time(B, lambda: mmdebstrapped(bench.folder))
        if {COLD, NEW_LOCK, ESSENTIAL, UNCHANGED} & cases:
            one_image(bench, number, cases)
        if TEN in cases:
            ten(bench, number)
    if HUNDRED in cases:
        hundred(bench)


def changed(records: list[dict[str, Any]]) -> None:
    """What was to be built has been."""
    assert {record["status"] for record in records} == {"published"}, records


def unchanged(records: list[dict[str, Any]]) -> None:
    """Nothing was built."""
    assert {record["status"] for record in records} == {"unchanged"}, records


def table(bench: Bench, cases: set[str]) -> tuple[list[str], list[str]]:
    """The results in Markdown, and the cases above a limit."""
    a, b, slow = bench.median(A), bench.median(B), []
    lines = [
        f"trixie minbase, medians of {ROUNDS}; {os.cpu_count()} cores, {platform.machine()}, {datetime.now(UTC):%F}.",
        f"(a) `debootstrap | tar | docker import | docker run`: {a:.1f} s; "
        f"(b) `mmdebstrap | docker import | docker run`: {b:.1f} s.",
        "",
        "| case | seconds are of | seconds | of (a) | at most | of (b) | at most |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, limit in LIMITS.items():
        if case not in cases:
            continue
        took = bench.median(case)
        of_a = took / (a * limit.against)
        of_b = f"{took / b:.3f} | {limit.of_b:g}" if limit.of_b else " | "
        lines.append(f"| {limit.what} | {limit.unit} | {took:.2f} | {of_a:.4f} | {limit.of_a:g} | {of_b} |")
        if of_a > limit.of_a or (limit.of_b and took / b > limit.of_b):
            slow.append(case)
    return lines, slow


def main(words: list[str]) -> int:
    """Print the table; 1 when a limit is not kept."""
    if wrong := set(words) - set(CASES):
        sys.stderr.write(f"no case is called {', '.join(sorted(wrong))}; there are {', '.join(CASES)}\n")
        return 2
    cases = set(words) or set(CASES)
    # The engine's folder is in memory, for all alike: what a disk does late or twice would be in anybody's figures.
    with tempfile.TemporaryDirectory(prefix="bench-") as place, dockerd(place="/dev/shm") as daemon:
        os.environ["DOCKER_HOST"] = daemon.address
        bench = Bench(Factory(Path(place) / "site", {"BASEFORGE_MEMORY": "/dev/shm"}), Path(place))
        bench.site.folder.mkdir()
        bench.site.recipe("warm-up", RECIPE.replace("trixie", "bookworm"))
        bench.run("build", "warm-up")  # the Prefect server runs from here on
        (bench.site.recipes / "warm-up.yaml").unlink()
        rounds(bench, cases)
        lines, slow = table(bench, cases)
    if not words:
        RESULTS.write_text("\n".join([*lines, ""]))
    verdicts = [
        f"{LIMITS[case].what}: {'above the limit' if case in slow else 'kept'}" for case in LIMITS if case in cases
    ]
    sys.stdout.write("\n".join([*lines, "", *verdicts, ""]))
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
