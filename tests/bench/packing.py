"""Measure packing on this machine: a minbase tree in seconds and bytes, a tree of 4 GB in memory.

Prints medians of several rounds, and fails when more memory than the limit was in use.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from flows.builders.engine import Engine, connect
from flows.builders.image_import import EngineBuilder, import_image, remove_unused
from flows.image.oci import make_image
from rootfs.layer.compress import LEVEL
from rootfs.layer.pack import pack
from rootfs.recipe.sections import ImageSettings
from rootfs.tree.member import Member, from_tree
from rootfs.tree.tar_writer import tar_chunks

ROUNDS = 3
MIB = 1 << 20
LIMIT = 200  # MiB of the process that packs
LARGE = 4 << 30  # bytes of the tree that it packs then


def median(work: Callable[[], object]) -> float:
    """Seconds."""
    took = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        work()
        took.append(time.monotonic() - began)
    return statistics.median(took)


def say(what: str, figure: str) -> None:
    sys.stdout.write(f"{what:<58} {figure}\n")
    sys.stdout.flush()


def seconds(tree: Path, folder: Path) -> None:
    """What the parts take, and what frames cost in size."""
    layer, cache = folder / "layer", folder / "cache"
    say("walk and tar", f"{median(lambda: sum(map(len, tar_chunks(from_tree(tree))))):.2f} s")
    say("layer, nothing kept", f"{median(lambda: pack(from_tree(tree), layer)):.2f} s")
    packed = pack(from_tree(tree), layer, frame_cache=cache)
    say("layer, all frames kept", f"{median(lambda: pack(from_tree(tree), layer, frame_cache=cache)):.2f} s")
    single = zstandard.ZstdCompressor(level=LEVEL, threads=2)
    whole = len(single.compress(b"".join(tar_chunks(from_tree(tree)))))
    say("size, and over one single frame", f"{packed.size} bytes, {100 * packed.size / whole - 100:+.1f} %")


def timeline(tree: Path, folder: Path, engine: Engine, cache: Path | None) -> dict[str, float]:
    """When what has ended, in seconds from the start of packing to an image in the engine."""
    ends: dict[str, float] = {}
    began = time.monotonic()

    def note(what: str) -> None:
        ends[what] = time.monotonic() - began

    def walked() -> Iterator[Member]:
        yield from from_tree(tree)
        yield Member(f"bench-{time.time_ns()}")  # no engine has this layer
        note("walked")

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    layer = pack(walked(), folder / "layer", frame_cache=cache)
    note("compressed")
    made = make_image(layer, ImageSettings(), name="bench", architecture="amd64", epoch=0, folder=folder / "layout")
    image_id = import_image(made, EngineBuilder(engine))
    note("imported")
    remove_unused(engine, image_id)
    return ends


def timelines(tree: Path, folder: Path) -> None:
    with connect() as engine:
        for cache in (None, folder / "cache"):
            runs = [timeline(tree, folder / "one", engine, cache) for _ in range(ROUNDS)]
            middle = sorted(runs, key=lambda ends: ends["imported"])[ROUNDS // 2]
            told = ", ".join(f"{what} {end:.2f} s" for what, end in middle.items())
            say(f"packed and imported, {'frames kept' if cache else 'nothing kept'}", told)


def large_tree(tree: Path) -> None:
    """Holes, bytes that do not compress, and many small files: LARGE in all."""
    (tree / "small").mkdir(parents=True)
    noise = os.urandom(16 * MIB)
    for number in range(20_000):
        (tree / f"small/{number}").write_bytes(noise[number : number + 8000])
    with (tree / "noise").open("wb") as file:
        for _ in range(64):
            file.write(noise)
    with (tree / "hole").open("wb") as file:
        file.truncate(LARGE - 64 * len(noise) - 20_000 * 8000)


def memory(tree: Path, folder: Path) -> int:
    """The peak, in MiB, of a process of its own that packs the tree."""
    large_tree(tree)
    argv = [sys.executable, "-m", "tests.bench.packing", tree, folder / "layer"]
    began = time.monotonic()
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    unpacked, peak = map(int, done.stdout.split())
    assert unpacked > LARGE
    say(f"a tree of {LARGE >> 30} GiB", f"{time.monotonic() - began:.1f} s, {peak} MiB at most (limit {LIMIT})")
    return peak


def main() -> int:
    """Print the figures; 1 when it took too much memory."""
    if len(sys.argv) > 1:
        layer = pack(from_tree(Path(sys.argv[1])), Path(sys.argv[2]))
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        sys.stdout.write(f"{layer.unpacked} {int(peak[1]) >> 10 if peak else LIMIT + 1}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        make = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", "trixie", folder / "trixie"]
        subprocess.run(make, check=True)
        seconds(folder / "trixie", folder)
        timelines(folder / "trixie", folder)
        return int(memory(folder / "large", folder) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
