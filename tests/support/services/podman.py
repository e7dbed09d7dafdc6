"""Podman, with all its data in one folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

Podman = Callable[..., str]

# What `podman run` needs where nobody has the right to raise limits: its defaults are higher than such a machine's.
LIMITS = ("--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000")


@contextlib.contextmanager
def podman() -> Iterator[Podman]:
    """A function that runs podman with the words it is given and returns what was printed."""
    assert shutil.which("podman"), "podman is not installed: apt-get install podman"
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))  # its paths have 50 characters at most
    places = ["--root", folder / "root", "--runroot", folder / "run", "--tmpdir", folder / "tmp"]
    ways = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]
    # crun refuses machines whose cgroups are of both versions at once.
    command = ["podman", *places, *ways, "--runtime=runc"]

    def run(*words: str | Path) -> str:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        yield run
    finally:
        with contextlib.suppress(AssertionError):
            run("system", "reset", "--force")
        shutil.rmtree(folder, ignore_errors=True)
