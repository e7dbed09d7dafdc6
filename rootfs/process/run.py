"""Run programs: from argument lists, in a clean environment, and without leaving processes behind.

Every program runs in its own session and is killed when this process dies (`setpriv --pdeathsig`). A *contained*
program also gets its own mount, process and host name namespaces: its mounts and processes end with it. A program in a
*sandbox* (`rootfs.process.sandbox`) sees only what it is given of the machine, and has limits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NoReturn

from rootfs import errors
from rootfs.errors import BuildError
from rootfs.process import seccomp
from rootfs.process.cgroup import ControlGroup, control_group
from rootfs.process.errors import LimitReached, ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.sandbox import Limit, Sandbox, reached_limit
from rootfs.system.stop import stoppable

Log = Callable[[str], None]
# `with owners`: the program of an ordinary user can also change the owners of files.
Contained = bool | Literal["with owners"] | Sandbox

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CHUNK = 1 << 20
FILE_TOO_LARGE = (-signal.SIGXFSZ, 128 + signal.SIGXFSZ)  # exit statuses
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LIMIT_CHECK_INTERVAL = 0.1  # seconds between two checks whether a sandbox has reached a limit
TAIL_LINES = 200  # lines of standard error kept for the error message
MAX_LINE = 64 << 10  # bytes of a line; longer lines are split
MAX_LOGGED = 16 << 20  # bytes of a program's lines that are kept and logged; the rest is dropped
MAX_OUTPUT = 1 << 30  # bytes of standard output that are returned at most

CONTAINED = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
AS_USER = "--map-root-user"  # an ordinary user gets namespaces only inside a user namespace
SUBORDINATE = "--map-auto"  # with other owners besides root (subuid(5))
WITHOUT_NETWORK = "--net"

OWN_ENVIRONMENT = {
    "PYTHONPATH": str(Path(errors.__file__).parent.parent),  # where `rootfs` is imported from
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Outcome:
    """The exit status of a program (negative: the signal) and what it printed."""

    status: int
    stdout: str
    stderr: str


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every program, so that results do not depend on the user's."""
    fixed = {"PATH": SYSTEM_PATH, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C", "TZ": "UTC"}
    return {**fixed, **(extra or {})}


def proxies() -> dict[str, str]:
    """The user's proxy variables, for programs that use the network. They may contain a password."""
    return {name: os.environ[name] for name in PROXIES if name in os.environ}


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | Callable[[], bytes] | None = None,
    timeout: float | None = None,
    check: bool = True,
    contained: Contained = False,
    network: bool = True,
    log: Log | None = None,
) -> Outcome:
    """Run a program and return its exit status and output.

    With a `log`, which gets each line at once, standard output and standard error are merged in the result's `stderr`.
    `stdin` may be a function, which is called while the program already runs. `network=False` leaves a contained
    program only a loopback that is down; a sandbox never has a network.

    Raises BuildError, ProgramMissing, ProgramTimedOut (after `timeout` seconds), LimitReached, what `log` and making
    `stdin` raise and, unless `check` is False, ProgramFailed.
    """
    piped, merged, isolation = stdin is not None, log is not None, (contained, network)
    with _started(argv, isolation, env=env, cwd=cwd, log=log, timeout=timeout, piped=piped, merged=merged) as program:
        if stdin is not None and (pipe := program.process.stdin):
            program.feed(pipe, stdin)
        out = b"" if merged else program.read()
        status = program.wait()
    if check and status != 0:
        raise ProgramFailed(program.name, status, program.tail() or out.decode(errors="replace"))
    return Outcome(status, out.decode(errors="replace"), program.tail())


@contextlib.contextmanager
def stream(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    contained: Contained = False,
    log: Log | None = None,
) -> Iterator[IO[bytes]]:
    """A program's standard output as a stream. At the end of the block its exit is awaited; raises as `run` does.

    If the program failed, that is raised rather than an error of the reader, which is a consequence of it.
    """
    with _started(argv, (contained, True), env=env, log=log, timeout=timeout) as program:
        try:
            yield program.stdout
        except Exception:
            program.raise_own_failure()
            raise
        while program.stdout.read(CHUNK):
            pass
        status = program.wait()
    if status != 0:
        raise ProgramFailed(program.name, status, program.tail())


class _Program:
    """A running program, its process group, and the last lines of its standard error or of all its output."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        log: Log | None,
        timeout: float | None,
        sandbox: Sandbox | None = None,
        group: ControlGroup | None = None,
    ) -> None:
        self.name, self.process, self.log = name, process, log
        self.sandbox, self.group = sandbox, group
        self._expired, self._timeout = False, timeout or 0.0
        self._log_error: Exception | None = None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        self._watchdog = threading.Timer(self._timeout, self._expire)
        self._watchdog.daemon = True
        if timeout:
            self._watchdog.start()
        self._ended = threading.Event()
        if group:
            threading.Thread(target=self._watch, args=(group,), daemon=True).start()

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None  # noqa: S101 - always piped
        return self.process.stdout

    def _read_lines(self) -> None:
        stream, left = self.process.stderr or self.stdout, MAX_LOGGED
        while raw := stream.readline(MAX_LINE):
            if left > 0:
                left -= len(raw)
                cut = f"… {self.name} prints more than {MAX_LOGGED >> 20} MiB: the rest is not kept"
                self._keep(raw.decode(errors="replace").rstrip("\r\n") if left > 0 else cut)

    def _keep(self, line: str) -> None:
        """Keep and log a line. If the log fails, the program is ended: nobody would learn what it prints."""
        self._lines.append(line)
        if self.log and not self._log_error:
            try:
                self.log(line)
            except Exception as error:  # raised by `wait`, in the thread that runs the program
                self._log_error = error
                threading.Thread(target=self.end, daemon=True).start()  # its output is read on meanwhile

    def read(self) -> bytes:
        """All of its standard output. Raises BuildError."""
        data = self.stdout.read(MAX_OUTPUT + 1)
        if len(data) > MAX_OUTPUT:
            raise BuildError(f"{self.name} printed more than {MAX_OUTPUT >> 20} MiB", hint="See why it prints so much.")
        return data

    def tail(self) -> str:
        self._reader.join(timeout=GRACE)
        return "\n".join(self._lines)

    def feed(self, pipe: IO[bytes], data: bytes | Callable[[], bytes]) -> None:
        """Write its standard input in a thread: a program may write output before it has read everything."""
        with contextlib.ExitStack() as failing:
            failing.enter_context(pipe)
            made = data() if callable(data) else data
            failing.pop_all()
        threading.Thread(target=self._feed, args=(pipe, made), daemon=True).start()

    def _feed(self, pipe: IO[bytes], data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write(data)

    def _expire(self) -> None:
        """The timeout has passed: end the program. `wait` then raises ProgramTimedOut."""
        self._expired = True
        self.end()

    def _watch(self, group: ControlGroup) -> None:
        """End a sandbox that has reached a limit: its remaining processes could run for ever."""
        while not self._ended.wait(LIMIT_CHECK_INTERVAL):
            if group.reached():
                self.end()
                return

    def wait(self) -> int:
        """Wait for the exit status. Raises what the log raised, ProgramTimedOut, LimitReached."""
        status = self.process.wait()
        self._reader.join(timeout=GRACE)
        if self._log_error:
            raise self._log_error
        if self._expired:
            setting = "sandbox_seconds" if self.sandbox else ""
            raise ProgramTimedOut(self.name, self._timeout, self.tail(), setting)
        self._check_limits(status)
        return status

    def _check_limits(self, status: int) -> None:
        limit: Limit | None = reached_limit(self.tail()) if status != 0 else None
        if status in FILE_TOO_LARGE:
            limit = "disk"
        reached = (self.group.reached() or (limit if limit == "disk" else None)) if self.group else limit
        if self.sandbox and reached:
            limits = self.sandbox.limits
            amounts: dict[Limit, str] = {
                "memory": f"{limits.memory >> 20} MiB of memory",
                "processes": f"{limits.processes} processes",
                "disk": f"{limits.disk >> 20} MiB in a file",
            }
            raise LimitReached(self.name, amounts[reached], f"sandbox_{reached}", self.tail())

    def raise_own_failure(self) -> None:
        """The reader failed: raise the program's own error, if it had failed before."""
        try:
            status = self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return
        if self._log_error:
            raise self._log_error
        if self._expired:
            raise ProgramTimedOut(self.name, self._timeout, self.tail())
        if status > 0:
            raise ProgramFailed(self.name, status, self.tail())

    def end(self) -> None:
        """End the process group: SIGTERM, a few seconds of grace, SIGKILL."""
        if self.sandbox:  # its first process does not get a SIGTERM
            self._signal(signal.SIGKILL)
        elif self._signal(signal.SIGTERM):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
            self._signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Close its output. The pipe of lines is closed when its reader has ended: a stray child may have it open."""
        self._watchdog.cancel()
        self._ended.set()
        if self.process.stderr:
            self.stdout.close()
        self._reader.join(timeout=GRACE)
        if not self._reader.is_alive():
            (self.process.stderr or self.stdout).close()

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True


def _launcher(
    contained: Contained, network: bool, group: ControlGroup | None, descriptors: tuple[int, ...]
) -> list[str]:
    """The command that starts a program so that it dies with this process and, if contained, leaves nothing behind."""
    root, sandbox = os.geteuid() == 0, contained if isinstance(contained, Sandbox) else None
    owners = sandbox.owners if sandbox else contained == "with owners"
    user = [] if root else [AS_USER, *([SUBORDINATE] if owners else [])]
    inside = [*CONTAINED, *user, *([] if network or sandbox else [WITHOUT_NETWORK])]
    words = ["setpriv", "--pdeathsig", "KILL", *(group.joining() if group else []), *(inside if contained else [])]
    if sandbox:
        words += [*sandbox.files_limited(), *([] if group else sandbox.each_limited())]
        words += sandbox.command(root=root, refusing=descriptors[0], accounts=descriptors[1])
    return words


@contextlib.contextmanager
def _started(
    argv: Sequence[str | Path],
    isolation: tuple[Contained, bool],
    *,
    env: Mapping[str, str] | None,
    log: Log | None,
    timeout: float | None,
    cwd: Path | None = None,
    piped: bool = False,
    merged: bool = False,
) -> Iterator[_Program]:
    words, environment = [str(word) for word in argv], clean_environment(env)
    contained, network = isolation
    sandbox = contained if isinstance(contained, Sandbox) else None
    for word in ("bwrap", words[0]) if sandbox else words[:1]:
        if shutil.which(word, path=environment["PATH"]) is None:
            raise ProgramMissing(word, environment["PATH"])
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(control_group(sandbox.limits.memory, sandbox.limits.processes)) if sandbox else None
        files = (seccomp.filter_program(), sandbox.accounts) if sandbox else ()
        descriptors = tuple(stack.enter_context(seccomp.memory_file(data)) for data in files)
        process = subprocess.Popen(
            [*_launcher(contained, network, group, descriptors), *words],
            pass_fds=descriptors,
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            start_new_session=True,
            umask=0o022,
        )
        name = sandbox.title if sandbox and sandbox.title else Path(words[0]).name
        program = _Program(name, process, log, timeout, sandbox, group)
        try:
            with stoppable(program.end, also_later=sandbox is not None):
                yield program
        finally:
            program.end()
            program.close()


def own_command(module: str, *words: str | Path) -> list[str | Path]:
    """The command line that runs a module of ours; it needs `OWN_ENVIRONMENT`."""
    return [sys.executable, "-P", "-m", module, *words]


def own_command_apart(module: str, *words: str | Path) -> list[str | Path]:
    """The command line for a module of ours that imports only the standard library: by the system's Python."""
    return [Path(sys.executable).resolve(), "-P", "-s", "-m", module, *words]


def start_detached(
    argv: Sequence[str], env: Mapping[str, str], log: Path, *, cwd: Path, files: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that outlives this process. Its output goes to a private file.

    It works in the folder `cwd` and inherits the open `files`.
    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "ab") as output:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )


def replace_process(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process by a program."""
    os.execve(argv[0], argv, env)  # noqa: S606
