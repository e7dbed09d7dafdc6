"""That there is a spare process for the next command, one for each local server, and that it goes when it has to."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.folders import server_folder
from flows.spare import alike, talk
from rootfs import locks
from rootfs.run import detached

LOCK, LOG = "spare.lock", "spare.log"


@contextlib.contextmanager
def only_one() -> Iterator[bool]:
    """Whether we are the spare process while the block lasts; not where there is one, or one that is still loading."""
    with locks.locked_now(_lock()) as alone:
        for name in talk.names() if alone else ():  # of one that was killed
            (server_folder() / f"{talk.PREFIX}{name}").unlink(missing_ok=True)
        yield alone


def provide(born: str) -> None:
    """For commands to come that are `born` alike: a spare process, unless there is one. One of other code ends."""
    if not born:
        return
    code = alike.of_code()
    if locks.is_held(_lock()):
        end(unless=code)
        return
    argv = [sys.executable, "-P", "-m", "flows.spare.lend", f"{code}-{born}"]
    with contextlib.suppress(OSError):  # somebody else's folder
        program = detached(argv, dict(os.environ), server_folder() / LOG, cwd=server_folder())
        program.returncode = 0  # not ours to wait for


def end(unless: str = "") -> None:
    """End what is there, but for one of a certain code; commands that run in forks of it come to their own end."""
    for name in talk.names():
        if not unless or not name.startswith(unless):
            with contextlib.suppress(OSError), talk.reach(name) as spare:
                process, _ = talk.peer(spare)
                os.kill(process, signal.SIGTERM)


def _lock() -> Path:
    return server_folder() / LOCK
