"""When a fork of the spare process may stand for a command: only where nobody could tell the two apart.

What a process is given (its folder, files, words, umask, signals) is handed over. What it was born with is compared:
user, limits, namespaces, control group, and all of the environment but what is read only when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.folders import server_folder

CODE = Path(__file__).parents[2]
PACKAGES = ("flows", "rootfs")
LIBRARIES = Path(sys.prefix, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
READ_LATE = ("BASEFORGE_", "DOCKER_", "BUILDX_")  # by the command itself, never while Prefect is loaded
MEANINGLESS = {"_", "PWD", "OLDPWD", "SHLVL"}  # a shell's notes to itself
RIGHTS = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "Cpus_allowed", "Mems_allowed")  # proc(5), status
BIRTHMARKS = ("limits", "cgroup", "oom_score_adj", "attr/current")


def name() -> str:
    """What a spare process for this command is called."""
    return f"{of_code()}-{born()}"


def of_code() -> str:
    """What changes with our code, its libraries and the local Prefect server."""
    return _digest(_code())


def born() -> str:
    """What this process was born with; empty where the kernel does not say."""
    try:
        return _digest(_born())
    except OSError:
        return ""


def _digest(parts: Iterator[object]) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()[:16]


def _code() -> Iterator[object]:
    yield sys.executable
    for library in (Path(sys.executable), Path(os.__file__).parent, LIBRARIES, Path(sys.prefix) / "pyvenv.cfg"):
        yield from _version(library)
    yield from _version(server_folder() / "profiles.toml")  # from which Prefect takes settings while it is loaded
    for package in PACKAGES:
        for folder, _, files in os.walk(CODE / package):
            for file in sorted(files):
                if file.endswith(".py"):
                    yield from _version(Path(folder, file))
    with contextlib.suppress(OSError):
        yield (server_folder() / "server.json").read_text()


def _version(path: Path) -> Iterator[object]:
    with contextlib.suppress(OSError):
        found = path.stat()
        yield from (path, found.st_ino, found.st_size, found.st_mtime_ns)


def _born() -> Iterator[object]:
    this = Path("/proc/self")
    yield from sorted(item for item in os.environ.items() if _is_read_early(item[0]))
    yield from (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))
    root = Path("/").stat()
    yield from (root.st_dev, root.st_ino)
    yield from sorted(str(space.readlink()) for space in (this / "ns").iterdir())
    yield from (line for line in (this / "status").read_text().splitlines() if line.startswith(RIGHTS))
    for mark in BIRTHMARKS:
        with contextlib.suppress(OSError):
            yield (this / mark).read_text()


def _is_read_early(variable: str) -> bool:
    return variable not in MEANINGLESS and not variable.startswith(READ_LATE)
