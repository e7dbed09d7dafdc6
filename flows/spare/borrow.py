"""The command's side: let a fork of the spare process do the work, pass on what signals come, end as it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from flows.spare import alike, talk

UNSUITED = {"serve", "stop", "page", "prefect"}  # commands about the local server itself
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT)
STANDARD = {0, 1, 2}
PATIENCE = 5.0  # seconds in which a spare process begins our work, or dies of our having gone


def borrowed() -> int | None:
    """The exit status of this command as a spare process ran it; None where none can, and we have to.

    Where a signal ended it, we end by the same.
    """
    files = [number for number in (int(path.name) for path in Path("/proc/self/fd").iterdir()) if _is_given(number)]
    if UNSUITED & {*sys.argv} or "PREFECT_API_URL" in os.environ:
        return None
    if not {*files} >= STANDARD or len(files) > talk.MOST_FILES:
        return None
    old = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        with talk.reach(alike.name()) as spare:
            _pass_on_to(_hand_over(spare, files))
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
            return _ended(spare)
    except OSError:  # nobody is there, or is about to go
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _is_given(number: int) -> bool:
    """Whether a file was open before we were: Python's own are not for other programs."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _hand_over(spare: socket.socket, files: list[int]) -> int:
    """Give all we have; returns the process that works on it. Raises OSError."""
    umask = os.umask(0o077)
    os.umask(umask)
    ignored = [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN]
    given = talk.Given(sys.argv, dict(os.environ), umask, [int(number) for number in ignored], files)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    spare.settimeout(PATIENCE)
    try:
        talk.give(spare, given, [*files, here])
    finally:
        os.close(here)
    worker = talk.told(spare, talk.BEGUN)
    spare.settimeout(None)
    return worker


def _pass_on_to(worker: int) -> None:
    """What is sent to us is meant for it; what we ignore it does too."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)


def _ended(spare: socket.socket) -> int:
    try:
        status = talk.told(spare, talk.ENDED)
    except OSError:  # it was killed, and what it had begun with it
        status = -signal.SIGKILL
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status
