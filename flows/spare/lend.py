"""The spare process: it loads all there is, waits for commands, and is forked for each.

It ends when it is told to, or when nobody has asked for long. Commands that it lent itself to die with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.spare import alike, fork, keep, talk
from rootfs import lock
from rootfs.errors import BaseforgeError

LINGER = 3600.0  # seconds
LATER = (  # what nearly every command loads where it is used
    "anyio._backends._asyncio",
    "flows.store.folder",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "rootfs.engines.debian",
    "rootfs.engines.scratch",
    "rootfs.engines.tarball",
)
GONE = select.EPOLLRDHUP | select.EPOLLHUP


@dataclass(frozen=True)
class Lent:
    """A command that is running: its process, a handle on that, and the line to whoever waits for it."""

    process: int
    handle: int
    line: socket.socket

    def close(self) -> None:
        """Nothing more will be said."""
        os.close(self.handle)
        self.line.close()


@dataclass
class Lender:
    """What waits for commands, and for their ends. `bell` can be read when a signal has come."""

    listener: socket.socket
    bell: socket.socket
    poll: select.epoll = field(default_factory=select.epoll)
    lent: dict[int, Lent] = field(default_factory=dict)  # by its handle and by its line

    def run(self) -> socket.socket | None:
        """In each fork the line to its command; None in the spare process itself, when all is over."""
        self.poll.register(self.listener, select.EPOLLIN)
        self.poll.register(self.bell, select.EPOLLIN)
        while events := self.poll.poll(None if self.lent else LINGER):
            for number, _ in events:
                if number == self.bell.fileno():
                    self._last()
                    return None
                if number != self.listener.fileno():
                    self._hear(number)
                elif line := self._lend():
                    return line
        return None

    def _last(self) -> None:
        """Nothing new begins, and who asks hears so at once; what has begun is waited for."""
        for each in (self.bell, self.listener):
            self.poll.unregister(each)
            each.close()
        while self.lent:
            for number, _ in self.poll.poll():
                self._hear(number)

    def _lend(self) -> socket.socket | None:
        line, _ = self.listener.accept()
        try:
            process = os.fork() if talk.peer(line)[1] == os.geteuid() else None
        except OSError:  # too many processes
            process = None
        if process is None:
            line.close()
            return None
        if process == 0:
            self._close()
            return line
        lent = Lent(process, os.pidfd_open(process), line)
        self.lent |= {lent.handle: lent, line.fileno(): lent}
        self.poll.register(lent.handle, select.EPOLLIN)
        self.poll.register(line, GONE)
        return None

    def _hear(self, number: int) -> None:
        """A command has ended, or nobody waits for it any more."""
        if (lent := self.lent.get(number)) is None:
            return
        if number != lent.handle:
            self.poll.unregister(number)
            os.kill(lent.process, signal.SIGKILL)
            return
        status = os.waitstatus_to_exitcode(os.waitpid(lent.process, 0)[1])
        with contextlib.suppress(OSError):
            talk.tell(lent.line, talk.ENDED, status)
        for each in (lent.handle, lent.line.fileno()):
            del self.lent[each]
            with contextlib.suppress(OSError):
                self.poll.unregister(each)
        lent.close()

    def _close(self) -> None:
        for lent in {*self.lent.values()}:
            lent.close()
        for each in (self.listener, self.bell):
            each.close()
        self.poll.close()


@contextlib.contextmanager
def listening(name: str) -> Iterator[socket.socket]:
    """A socket by this name, gone when the block ends in the process that began it."""
    with talk.address(name) as place, socket.socket(socket.AF_UNIX) as listener:
        old = os.umask(0o077)
        listener.bind(early := f"{place}.early")  # somebody who finds it by its name shall be heard
        os.umask(old)
        listener.listen()
        Path(early).replace(place)
        ours = os.getpid()
        try:
            yield listener
        finally:
            if os.getpid() == ours:
                Path(place).unlink()


@contextlib.contextmanager
def ringing() -> Iterator[socket.socket]:
    """What can be read once we have been told to end."""
    bell, rope = socket.socketpair()
    with bell, rope:
        rope.setblocking(False)
        signal.set_wakeup_fd(rope.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(-1)


def lend(name: str) -> socket.socket | None:
    """Wait for commands; in each fork the line to one, None when all is over. Raises OSError."""
    os.close(os.pidfd_open(os.getpid()))  # a kernel that has none is seen before anybody counts on us
    with listening(name) as listener, ringing() as bell:
        os.chdir("/")
        return Lender(listener, bell).run()


def load() -> Callable[[], object]:
    """Load what commands need, and what nearly every one loads or asks for where it is used: the command line.

    No thread may come of it, as we shall be forked.
    """
    import flows.load
    import flows.nightly  # noqa: F401 - and Prefect with it
    from flows.cli import main as run

    for module in LATER:
        importlib.import_module(module)
    with contextlib.suppress(BaseforgeError):  # which who needs it meets, too
        lock.native_architecture()
        lock.package_versions(("dpkg",))  # and with it all others, until dpkg changes any
    return run


def main(name: str) -> None:
    """Load all, wait for commands, and run one in each fork."""
    with keep.only_one() as alone:
        if not alone:
            return
        run = load()
        gc.collect()
        gc.freeze()
        line = lend(name) if name.startswith(alike.of_code()) else None  # the server has gone meanwhile, or our code
    if line:
        fork.to_its_end(run, fork.become(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
