"""A sandbox for commands of recipes and scripts of packages: bubblewrap (bwrap) and limits.

bubblewrap is chosen over util-linux (`unshare`, `pivot_root`, `setpriv`) because it does in one tested program what
would otherwise be a script of our own: it makes the new root from read-only and writable binds, moves into it with
pivot_root, detaches the old root, makes a minimal /dev and /proc, drops capabilities, and always sets no_new_privs. It
works the same for root and, in a user namespace, for an ordinary user.

There are three views:

- `for_commands`: `build:` commands see this machine's toolchain, read-only, and the copy of the recipe's folder. They
  run as nobody, without capabilities.
- `for_trees`: the programs of ours and of this machine that make a tree see the toolchain and the work folder. They can
  mount. Whatever a tree leads them to by a symbolic link is inside this view.
- `inside`: programs of a tree (dpkg, maintainer scripts, `customise` scripts) see the tree alone and cannot mount. This
  is a second sandbox in the view of trees.

None has a network, or the machine's processes, IPC, keys or host name. Control groups limit all processes of a sandbox
together (`rootfs.process.cgroup`). Where none can be made, setrlimit(2) limits each process.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import secrets
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rootfs.process import cgroup

SANDBOX_ETC = Path(__file__).parent / "sandbox_etc"  # the sandbox's own files of /etc
FOLDER = "/build"  # where `build:` commands find the recipe's folder
NOBODY = 65534
# Ranges where an unused user id is looked for: above users and their containers, else where systemd looks.
UNUSED_IDS = (range(0x70000000, 0x7FFF0000), range(61184, 65520))

MEMORY = 2 << 30  # bytes
PROCESSES = 4096
SECONDS = 3600.0
DISK = 8 << 30  # bytes

Limit = cgroup.Limit | Literal["disk"]

# Folders of the root that most machines have as links into /usr (UsrMerge), others as folders.
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")
# The files of /etc that programs of /usr need. None is secret.
ETC = (
    "alternatives",
    "debian_version",
    "dpkg/origins",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "mime.types",
    "os-release",
    "perl",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
ETC_PATTERNS = ("java-*", "python3*")
MASKED_PROC = ("kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug")  # as container engines do

BWRAP = ("bwrap", "--die-with-parent", "--hostname", "localhost", "--cap-drop", "ALL")
NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try")
WITHOUT_NETWORK = "--unshare-net"  # except for a loopback; programs of a tree are in the network namespace of its view
# What dpkg and maintainer scripts do: give files to others, write what belongs to others, run programs as others.
DPKG_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETUID")
BOOTSTRAPPER_CAPABILITIES = (*DPKG_CAPABILITIES, "MKNOD", "SETPCAP", "SYS_ADMIN", "SYS_CHROOT", "SYS_NICE")

# What programs print when they reach a limit.
LIMIT_MESSAGES: dict[Limit, re.Pattern[str]] = {
    "processes": re.compile(rf"{os.strerror(errno.EAGAIN)}|cannot fork|can't fork", re.IGNORECASE),
    "memory": re.compile(rf"{os.strerror(errno.ENOMEM)}|MemoryError|out of memory|memory exhausted", re.IGNORECASE),
    "disk": re.compile(rf"{os.strerror(errno.EFBIG)}|File size limit exceeded", re.IGNORECASE),
}


def default_memory() -> int:
    """Three quarters of this machine's memory, as a tree may take half of it, but at least 2 GiB."""
    return max(MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 * 3)


@dataclass(frozen=True)
class Limits:
    """Limits of all programs of one sandbox together: bytes of memory, processes and threads, and seconds.

    `disk` is the maximum size of one file, and of all files of a tree.
    """

    memory: int = field(default_factory=default_memory)
    processes: int = PROCESSES
    seconds: float = SECONDS
    disk: int = DISK


@dataclass(frozen=True)
class Sandbox:
    """How a sandboxed program is started. With `owners` it can create files of many owners, and mount.

    Without, root's programs run as `user`, an id that is not used on this machine. Errors name the program by the
    `title`, if there is one.
    """

    view: tuple[str, ...]
    limits: Limits
    owners: bool = False
    title: str = ""
    user: int = NOBODY

    @property
    def accounts(self) -> bytes:
        """The content of /etc/passwd for root's programs without owners."""
        return (
            (SANDBOX_ETC / "passwd")
            .read_bytes()
            .replace(b":%d:%d:" % (NOBODY, NOBODY), b":%d:%d:" % (self.user, NOBODY))
        )

    def command(self, *, root: bool, refusing: int, accounts: int) -> list[str]:
        """The command line of bubblewrap, up to the program's own.

        `root` is whether this process is root. `refusing` is the descriptor of a seccomp filter, `accounts` that of the
        content of /etc/passwd.
        """
        words = [*BWRAP, *NAMESPACES, WITHOUT_NETWORK, *self.view, "--seccomp", str(refusing)]
        if self.owners:
            return [*words, *_capabilities(BOOTSTRAPPER_CAPABILITIES), "--"]
        if not root:  # who is root in a user namespace of one user
            return [*words, "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--"]
        words += ["--perms", "0644", "--ro-bind-data", str(accounts), "/etc/passwd"]
        as_nobody = ["setpriv", f"--reuid={self.user}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]
        return [*words, *_capabilities(("SETUID", "SETGID")), "--", *as_nobody]

    def files_limited(self) -> list[str]:
        """The command that limits the size of a program's files."""
        return ["prlimit", f"--fsize={self.limits.disk}", "--core=0", "--"]

    def each_limited(self) -> list[str]:
        """The command that limits each process, where there is no control group."""
        memory, processes = self.limits.memory, self.limits.processes
        # The kernel ends these first if memory is short.
        return ["choom", "--adjust=1000", "--", "prlimit", f"--data={memory}", f"--nproc={processes}", "--"]


def for_commands(folder: Path, limits: Limits, readable: tuple[Path, ...] = ()) -> Sandbox:
    """For `build:` commands: the toolchain and the paths `readable`, read-only, and `folder` as FOLDER, where they run.

    Root's are processes of the sandbox's `user`, so the folder has to be that user's.
    """
    exposed = [word for path in readable for word in (*_parents(path), "--ro-bind", str(path), str(path))]
    view = (*_toolchain(), *exposed, "--bind", str(folder), FOLDER, "--chdir", FOLDER)
    return Sandbox(view, limits, user=_unused_id())


def _parents(path: Path) -> Iterator[str]:
    """Folders that lead to a path, which every user can enter; bubblewrap's own are root's alone."""
    for parent in reversed(path.parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def for_trees(
    work: Path,
    limits: Limits,
    readable: tuple[Path, ...] = (),
    bound: tuple[tuple[Path, str], ...] = (),
    title: str = "",
) -> Sandbox:
    """For programs that make a tree in the folder `work`.

    They can also read the paths `readable`, and write to each path of `bound`, which they know by another name. Errors
    name the program by the `title`, if there is one.
    """
    exposed = [word for path in (*_python(), *readable) for word in ("--ro-bind", str(path), str(path))]
    names = [word for path, name in bound for word in ("--dev-bind", str(path), name)]
    view = (*_toolchain(), *exposed, "--dev-bind", str(work), str(work), *names, "--chdir", "/")
    return Sandbox(view, limits, owners=True, title=title)


def enter_tree_command(tree: Path) -> list[str]:
    """The command that runs a program of a tree, from a program that runs in the view of trees.

    What is mounted in the tree (/run, /tmp, the debs) is there. Devices in the tree cannot be opened.
    """
    root = ["--bind", str(tree), "/", "--dev", "/dev", "--proc", "/proc", *_proc_mounts(), "--chdir", "/"]
    return [*BWRAP, *NAMESPACES, *root, *_capabilities(DPKG_CAPABILITIES), "--"]


def write_script(path: Path, tree: Path, *, as_chroot: bool = False) -> Path:
    """Write a shell script that runs its arguments as a program of a tree.

    `as_chroot` leaves the first argument out, which is the tree where chroot(8) is called.
    """
    path.write_text(f'#!/bin/sh\n{"shift" if as_chroot else ":"}\nexec {shlex.join(enter_tree_command(tree))} "$@"\n')
    path.chmod(0o755)
    return path


def reached_limit(output: str) -> Limit | None:
    """The limit of setrlimit(2) that a failed program has probably reached, by its output."""
    return next((limit for limit, pattern in LIMIT_MESSAGES.items() if pattern.search(output)), None)


def _toolchain() -> list[str]:
    """A root with the programs of this machine, read-only, and nothing else of it."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in MERGED:
        place = Path("/", name)
        if place.is_symlink():
            words += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    etc = Path("/etc")
    exposed = [*(etc / name for name in ETC), *(found for each in ETC_PATTERNS for found in etc.glob(each))]
    for folder in sorted({path.parent for path in exposed}):  # bwrap makes missing ones for their owner alone
        words += ["--perms", "0755", "--dir", str(folder)]
    for path in exposed:
        words += ["--ro-bind-try", str(path), str(path)]
    for file in sorted(SANDBOX_ETC.iterdir()):
        words += ["--ro-bind", str(file), f"/etc/{file.name}"]
    for temporary in ("/tmp", "/var/tmp"):  # noqa: S108 - the sandbox's own
        words += ["--perms", "1777", "--tmpfs", temporary]
    return [*words, "--dir", "/run", "--dev", "/dev", "--proc", "/proc", *_proc_mounts()]


def _proc_mounts() -> list[str]:
    """Mounts that hide or protect files of /proc that are not only about the sandbox."""
    words = ["--ro-bind", "/proc/sys", "/proc/sys"]  # files of root's, which needs no capability to write them
    for name in MASKED_PROC:
        if Path("/proc", name).exists():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    return words


def _unused_id() -> int:
    """A user id that no user, no container and no process of this machine has, as far as can be seen.

    Another process of the same id could write to what a command of a recipe makes.
    """
    mapped, subordinate = _ranges(Path("/proc/self/uid_map"), None, 0, 2), _ranges(Path("/etc/subuid"), ":", 1, 2)
    for ids in UNUSED_IDS:
        for number in (secrets.choice(ids) for _ in range(100)):
            if any(number in each for each in mapped) and not any(number in each for each in subordinate):
                try:
                    pwd.getpwuid(number)
                except KeyError:
                    return number
    return NOBODY


def _ranges(file: Path, separator: str | None, first: int, count: int) -> list[range]:
    """Ranges of ids, a line each, with the fields that say where one begins and how long it is."""
    lines = [line.split(separator) for line in file.read_text().splitlines()] if file.exists() else []
    numbers = [(int(line[first]), int(line[count])) for line in lines if len(line) > count and line[first].isdigit()]
    return [range(begin, begin + length) for begin, length in numbers]


def _python() -> list[Path]:
    """This Python's own files and ours, where they are not in /usr."""
    places = (Path(sys.base_prefix).resolve(), Path(__file__).parents[1])
    return [place for place in places if not place.is_relative_to("/usr")]


def _capabilities(names: tuple[str, ...]) -> list[str]:
    return [word for name in names for word in ("--cap-add", f"CAP_{name}")]
