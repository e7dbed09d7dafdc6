"""Make a tree from a lock: `python -m tests.engine.rootfs.trees TASK.json`, as the user who runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.bootstrap.tree_cache import THREAD_NAME
from rootfs.layer.pack import pack
from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.process.sandbox import Limits
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.scratch import ScratchRecipe
from rootfs.tree.filters import Rules, filtered
from rootfs.tree.member import Members
from rootfs.tree.normalize import normalize

SUITE = "trixie"
ROOMY = Limits()


CLONE = Path(__file__).parents[3]
NOBODY = 65534
# Another user, who has subordinate ids in this mount namespace alone.
AS_NOBODY = (
    'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && '
    f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"'
)


def recipe_of(**said: Any) -> DebootstrapRecipe | ScratchRecipe:
    """A recipe as YAML would give it."""
    if said.get("kind") == "scratch":
        return ScratchRecipe.model_validate({"name": "r", **said}, strict=False)
    return DebootstrapRecipe.model_validate({"name": "r", "kind": "debootstrap", "suite": SUITE, **said}, strict=False)


@dataclass(frozen=True)
class Site:
    """Where trees are made: a lock, its debs, a recipe's folder of files, and a place for work."""

    folder: Path
    lock: Lock
    log: list[str] = field(default_factory=list)

    @property
    def debs(self) -> Path:
        return self.folder / "debs"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    @property
    def frame_cache_folder(self) -> Path:
        return self.folder / "frames"

    @contextmanager
    def tree(
        self, work: Path, *, kept: bool = True, lock: Lock | None = None, limits: Limits = ROOMY, **said: Any
    ) -> Iterator[Members]:
        """The raw members of a recipe's tree, which is `work/tree` until the last is read if root makes it."""
        recipe, here = recipe_of(**said), self.folder if kept else None
        work.mkdir()
        work.chmod(0o755)
        which, machine = lock or self.lock, native_architecture()
        job = Job(recipe, self.files, which, machine, work, self.debs, here, self.log.append, limits=limits)
        try:
            with open_tree(job) as members:
                yield members
        finally:
            for thread in threading.enumerate():
                if thread.name == THREAD_NAME:
                    thread.join()

    def digest(self, work: Path, *, kept: bool = True, **said: Any) -> str:
        """The digest of a recipe's packed layer."""
        recipe = recipe_of(**{key: value for key, value in said.items() if key != "lock"})
        start = time.monotonic()
        with self.tree(work, kept=kept, **said) as members:
            made = time.monotonic()
            clean = filtered(normalize(members, self.lock.epoch), Rules.of(recipe.filters))
            layer = pack(clean, work / "layer", frame_cache=self.frame_cache_folder if kept else None)
        sys.stdout.write(f"tree {made - start:.2f} s, packed after {time.monotonic() - start:.2f} s\n")
        return layer.digest


def as_nobody(site: Site, place: Path, **said: object) -> dict[str, Any]:
    """Make a tree as an ordinary user, in a folder of its own; returns what came of it."""
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    ids = place.with_name("ids")
    ids.write_text(f"{NOBODY}:200000:65536\n")
    task = place.with_name("task.json")
    where = {"folder": str(site.folder), "work": str(place / "work"), "result": str(place / "result")}
    task.write_text(json.dumps({**where, "lock": site.lock.model_dump(mode="json"), "said": said}))
    words = ["unshare", "--mount", "sh", "-c", AS_NOBODY, "sh", ids, sys.executable]
    done = subprocess.run(
        [*words, "-m", "tests.engine.rootfs.trees", task],
        cwd=CLONE,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TZ": "Asia/Tokyo", "PYTHONDONTWRITEBYTECODE": "1"},
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made: dict[str, Any] = json.loads((place / "result").read_text())
    return made


if __name__ == "__main__":
    task = json.loads(Path(sys.argv[1]).read_text())
    site = Site(Path(task["folder"]), Lock.model_validate(task["lock"]))
    made = site.digest(Path(task["work"]), kept=False, **task["said"])
    left = sorted(path.name for path in Path(task["work"]).iterdir())
    Path(task["result"]).write_text(json.dumps({"digest": made, "left": left, "log": site.log}))
