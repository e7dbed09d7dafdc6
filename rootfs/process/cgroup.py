"""Control groups (cgroups(7)) that limit the memory and the number of processes of one sandbox.

Both versions are supported. Where no group can be made, as for most ordinary users, `group` gives None.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MOUNTS = Path("/proc/self/mounts")
OWN_GROUP = Path("/proc/self/cgroup")
PREFIX = "baseforge-"
ABANDONED = 60.0  # seconds: an empty group that is older belongs to a process that was killed
REMOVE_TIMEOUT = 5.0  # seconds that the last process of a group may take to disappear
CONTROLLERS = ("memory", "pids")

Limit = Literal["memory", "processes"]

# Starts a program in the groups that are named before `--`.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class ControlGroup:
    """One group: a folder of the memory controller and one of the pids controller, which version 2 has in one."""

    memory: Path
    pids: Path

    @property
    def folders(self) -> list[Path]:
        """Its folders, without duplicates."""
        return list(dict.fromkeys((self.memory, self.pids)))

    def joining(self) -> list[str]:
        """The command that starts a program in the group."""
        return ["sh", "-c", JOIN, "sh", *map(str, self.folders), "--"]

    def limit(self, memory: int, processes: int) -> None:
        """Set the limits. Memory includes swap and files in a tmpfs. Raises OSError."""
        (self.pids / "pids.max").write_text(str(processes))
        first = (self.memory / "memory.limit_in_bytes").exists()
        (self.memory / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(memory))
        swap = {"memory.memsw.limit_in_bytes": memory} if first else {"memory.swap.max": 0, "memory.oom.group": 1}
        for name, value in swap.items():
            with contextlib.suppress(OSError):  # kernels without accounting of swap do not have them
                (self.memory / name).write_text(str(value))

    def reached(self) -> Limit | None:
        """The limit that was reached: the kernel killed a process of the group, or refused to start one."""
        if _count(self.memory, ("memory.events", "memory.oom_control"), "oom_kill"):
            return "memory"
        return "processes" if _count(self.pids, ("pids.events",), "max") else None

    def remove(self) -> None:
        """Remove the group; its processes have been killed."""
        until = time.monotonic() + REMOVE_TIMEOUT
        for folder in self.folders:
            while not _removed(folder) and time.monotonic() < until:
                time.sleep(0.01)


@contextlib.contextmanager
def control_group(memory: int, processes: int) -> Iterator[ControlGroup | None]:
    """A new group with these limits for the block, or None if this process may not make one."""
    if (group := _make(memory, processes)) is None:
        yield None
        return
    try:
        yield group
    finally:
        group.remove()


def _make(memory: int, processes: int) -> ControlGroup | None:
    parents = {name: folder for name in CONTROLLERS if (folder := parent_of(name))}
    if len(parents) < len(CONTROLLERS):
        return None
    folders: dict[Path, Path] = {}
    try:
        for parent in dict.fromkeys(parents.values()):
            _remove_abandoned(parent)
            folders[parent] = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        group = ControlGroup(*(folders[parents[name]] for name in CONTROLLERS))
        group.limit(memory, processes)
    except OSError:
        for folder in folders.values():
            _removed(folder)
        return None
    return group


def parent_of(controller: str) -> Path | None:
    """The folder in which a group with this controller can be made."""
    own = dict(line.split(":", 2)[1:] for line in OWN_GROUP.read_text().splitlines())
    for line in MOUNTS.read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            name = next((each for each in own if controller in each.split(",")), "")
            inside = Path(place + own.get(name, "/"))
            return inside if inside.is_dir() else Path(place)
        if kind == "cgroup2" and (found := _delegated(Path(place), own.get("", "/"), controller)):
            return found
    return None


def _delegated(mounted: Path, own: str, controller: str) -> Path | None:
    """Our group or its nearest ancestor that delegates the controller; one with processes in it cannot."""
    for place in (Path(own), *Path(own).parents):
        folder = mounted / str(place).lstrip("/")
        with contextlib.suppress(OSError):
            delegated = controller in (folder / "cgroup.subtree_control").read_text().split()
            if delegated and all(os.access(path, os.W_OK) for path in (folder, folder / "cgroup.procs")):
                return folder
    return None


def _remove_abandoned(parent: Path) -> None:
    """Remove groups that a killed process left behind; a group with processes in it cannot be removed.

    A group is empty until its program starts. Its maker's number tells whether it still will, and its age helps where
    the maker has its number in another namespace.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        maker = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if not Path("/proc", maker).exists() and time.time() - folder.stat().st_mtime > ABANDONED:
                folder.rmdir()


def _removed(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError:
            return False
    return True


def _count(folder: Path, names: tuple[str, ...], word: str) -> int:
    for name in names:
        with contextlib.suppress(OSError):
            lines = (line.split() for line in (folder / name).read_text().splitlines())
            return sum(int(line[1]) for line in lines if line[0] == word)
    return 0
