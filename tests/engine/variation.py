"""Builds on machines that differ in everything that must not count, from packages to an image.

As a program, `python -m tests.engine.variation ORDER`, it is the build itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from flows.config.options import BuildOptions
from flows.inputs.resolve import Inputs, with_bootstrapper
from flows.runtime.context import open_build, open_context
from flows.tasks import assemble, make_tree, pack_layer
from rootfs.lock.lock import Lock, tool_versions
from rootfs.process.host import native_architecture
from rootfs.recipe.recipe import digest_recipe, files_folder, lineage_of, read_recipe

ROOT = Path(__file__).parents[2]
CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
USER = 54321  # an ordinary user's number
SUBORDINATE = 7_000_000  # the first of its 65536 subordinate ids
DEBS = Path("/run/baseforge/debs")  # and the clock's library among them
Shuffled = Literal["nothing", "packing", "building"]

# A year on, for whatever is started so. File times stay the kernel's: they would be changed only outside of trees.
QUIETLY = "NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
# In a tree it is found through the first process, which is outside of it; elsewhere that may be another user's.
LATER = f"LD_PRELOAD={DEBS}/{CLOCK.name}:/proc/1/root{DEBS}/{CLOCK.name} FAKETIME=+365d {QUIETLY}"
# Programs in trees are set-uid and use devices. Link counts that the kernel remembers for a second are not the file
# system's any more, which tar notices; names and contents it may remember, as nobody else changes them.
FUSE = "dev,suid,attr_timeout=0,entry_timeout=3600,kernel_cache,big_writes,nonempty"
APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-ec"]


@dataclass(frozen=True)
class Dish:
    """What is built: a recipe with its lock, and a folder with the lock's debs."""

    recipe: Path
    lock: Path
    debs: Path


@dataclass(frozen=True)
class Machine:
    """One machine. `folder` is what the work folder is called; `memory` puts it in a tmpfs; `later` sets the clock a
    year on. What is `shuffled` is on a file system that lists folders in another order each time: the whole work folder
    while the image is built, which takes long, or the finished tree while it is packed."""

    umask: int = 0o022
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "work"
    memory: bool = True
    shuffled: Shuffled = "nothing"
    later: bool = False
    one_cpu: bool = False
    ordinary: bool = False

    def __or__(self, other: Machine) -> Machine:
        """Both together: what `other` has that is not usual counts."""
        usual = Machine()
        changed = {name: value for name, value in vars(other).items() if value != getattr(usual, name)}
        changed["environment"] = {**self.environment, **other.environment}
        return replace(self, **changed)


@dataclass(frozen=True)
class Cooked:
    """A build's manifest digest, its layer, and the year that it was where it was made."""

    manifest: str
    layer: Path
    year: int


@contextlib.contextmanager
def cook(dish: Dish, machine: Machine, engine: str = "mmdebstrap") -> Iterator[Cooked]:
    """Build it there. The layer is gone when the block ends."""
    base = Path(tempfile.mkdtemp(prefix="bf-variation-"))
    if machine.memory:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base], check=True)
    try:
        base.chmod(0o755)
        place = base / machine.folder
        place.mkdir(parents=True)
        for folder in (place, base / "home"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, *([USER, USER] if machine.ordinary else [0, 0]))
        order = [str(dish.recipe), str(dish.lock), str(DEBS), str(place), engine, machine.shuffled]
        (base / "order.json").write_text(json.dumps(order))
        done = subprocess.run(
            [*APART, "\n".join(_script(base, dish, machine)), "sh", *_words(machine), base / "order.json"],
            cwd=ROOT,
            env=_environment(base) | machine.environment,
            umask=machine.umask,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        yield Cooked(told["manifest"], Path(told["layer"]), told["year"])
    finally:
        if machine.memory:
            subprocess.run(["umount", base], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=True)


def _environment(base: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "TZ", "BASEFORGE_"))
    }
    return {**kept, "HOME": f"{base}/home", "BASEFORGE_HOME": f"{base}/home", "PYTHONDONTWRITEBYTECODE": "1"}


def _words(machine: Machine) -> list[str | Path]:
    """The command that builds, as whom and on how many processors."""
    setpriv = shutil.which("setpriv") or ""  # itself: what stands before it on PATH in there has the other clock
    user = [setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
    return [
        *(["taskset", "--cpu-list", "0"] if machine.one_cpu else []),
        *(user if machine.ordinary else []),
        *(["env", *LATER.split()] if machine.later else []),  # not before: semaphores would be root's
        *[sys.executable, "-m", "tests.engine.variation"],
    ]


def _script(base: Path, dish: Dish, machine: Machine) -> Iterator[str]:
    """The lines of a script that changes the machine for its own mount namespace, and runs the command in there."""
    yield f"mount -t tmpfs tmpfs /run; (umask 022; mkdir -p {DEBS}); mount --bind {dish.debs} {DEBS}"
    # The other clock's semaphores are named after process numbers, which begin anew in here: those that others left on
    # this machine would be found, and refused.
    yield "mount -t tmpfs tmpfs /dev/shm"
    if machine.ordinary:
        yield from _user(base)
    if machine.later:
        yield f"mount --bind {_wrapped(base / 'sbin')} /usr/local/sbin"
    yield '"$@"'


def _wrapped(folder: Path) -> Path:
    """A folder with the program that every program of a build is started through, there with the other clock."""
    folder.mkdir()
    wrapper = folder / "setpriv"
    wrapper.write_text(f'#!/bin/sh\nexport {LATER}\nexec {shutil.which("setpriv")} "$@"\n')
    wrapper.chmod(0o755)
    return folder


def _user(base: Path) -> Iterator[str]:
    """An ordinary user with subordinate ids, whatever users the machine has."""
    entry = f"builder:{SUBORDINATE}:65536\n"
    passwd = f"{Path('/etc/passwd').read_text()}builder:x:{USER}:{USER}::{base}/home:/bin/sh\n"
    for name, text in {"passwd": passwd, "subuid": entry, "subgid": entry}.items():
        (base / name).write_text(text)
        (base / name).chmod(0o644)
        Path("/etc", name).touch()
        yield f"mount --bind {base}/{name} /etc/{name}"


@contextlib.contextmanager
def disorder(folder: Path) -> Iterator[None]:
    """While the block lasts, what is in `folder` is listed in another order each time."""
    real = folder.with_name("real")
    real.mkdir()
    # Only root is here. To be each caller in turn, as disorderfs can, more than doubles its time.
    shuffle = ["disorderfs", "--quiet", "--shuffle-dirents=yes", "--sort-dirents=no", "--multi-user=no", "-o", FUSE]
    usual = {"PATH": os.environ["PATH"]}  # the file system's own clock is the kernel's
    for words in (["mount", "--bind", folder, real], [*shuffle, real, folder]):
        subprocess.run(words, env=usual, stdout=subprocess.DEVNULL, check=True)
    try:
        yield
    finally:
        for each in (folder, real):
            subprocess.run(["umount", each], env=usual, check=True)
        real.rmdir()


def is_shuffled(folder: Path) -> bool:
    """Whether it is not always listed in the same order; it must have something in it."""
    return len({tuple(folder.iterdir()) for _ in range(20)}) > 1


def build(recipe: Path, lock: Lock, debs: Path, place: Path, engine: str, shuffled: Shuffled) -> dict[str, str | int]:
    """Steps of the real flow, from its debs to its image, with nothing kept."""
    from datetime import UTC, datetime

    options = BuildOptions.model_validate({"engine": engine})
    chosen = with_bootstrapper(read_recipe(recipe), options)
    inputs = Inputs(
        recipe=chosen,
        file=recipe,
        architecture=native_architecture(),
        newest=lock,
        lock=lock,
        tools=tool_versions(chosen),
        recipe_digest=digest_recipe(chosen, files_folder(recipe)),
        lineage=lineage_of(chosen, recipe),
    )
    with (
        open_context() as command,
        open_build(command, chosen.name, options) as ctx,
        disorder(place) if shuffled == "building" else nullcontext(),
    ):
        with ExitStack() as running:
            members = make_tree.fn(ctx, inputs, debs, place, running, use_cache=False)
            tree = place / "tree/tree"
            with disorder(tree) if shuffled == "packing" else nullcontext():
                assert shuffled != "packing" or is_shuffled(tree)
                packed = pack_layer.fn(ctx, inputs, members, place, running, use_cache=False)
        made = assemble.fn(ctx, inputs, packed, place / "layout")
        assert shuffled != "building" or is_shuffled(place)
    return {"manifest": made.manifest_digest, "layer": str(made.layer.path), "year": datetime.now(UTC).year}


if __name__ == "__main__":
    words = json.loads(Path(sys.argv[1]).read_text())
    lock = Lock.model_validate_json(Path(words[1]).read_text())
    said = build(Path(words[0]), lock, Path(words[2]), Path(words[3]), *words[4:])
    sys.stdout.write(json.dumps(said))
