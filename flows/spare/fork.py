"""A fork of the spare process: it becomes the command that it was lent to, and ends as that."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from flows.spare import talk
from flows.spare.borrow import PASSED_ON

PATIENCE = 10.0  # seconds in which a command says what it wants
DIE_WITH_PARENT = 1  # prctl(2), PR_SET_PDEATHSIG
ABOVE = 300  # no command was given so many files that one has this number


def become(line: socket.socket) -> socket.socket:
    """Take on all that the command at the other end was given, and tell it so; the line, out of the way of its files.

    Raises OSError, ValueError.
    """
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    os.setsid()
    line.settimeout(PATIENCE)
    given, files = talk.taken(line)
    line = socket.socket(fileno=fcntl.fcntl(line.detach(), fcntl.F_DUPFD_CLOEXEC, ABOVE))
    os.fchdir(files[-1])
    above = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, ABOVE) for file in files[:-1]]
    for file in files:
        os.close(file)
    for file, number in zip(above, given.files, strict=True):
        os.dup2(file, number, inheritable=True)
        os.close(file)
    for each in PASSED_ON:
        signal.signal(each, signal.SIG_IGN if each in given.ignored else signal.SIG_DFL)
    os.umask(given.umask)
    os.environ.clear()
    os.environ.update(given.environment)
    time.tzset()
    sys.argv[:] = given.words
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    talk.tell(line, talk.BEGUN, os.getpid())
    return line


def to_its_end(run: Callable[[], object], line: socket.socket) -> None:
    """Run a command, and end as Python does where it says how to, but without taking apart what was loaded.

    That takes longer than all else at the end; `multiprocessing` does so in its forks, too.
    """
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, int):
            with contextlib.suppress(OSError):  # of its last words, which Python then tries and tells
                _leave(end.code, line)
        raise


def _leave(status: int, line: socket.socket) -> NoReturn:
    """Nobody shall wait for our memory to go; files go first, and what they lock.

    Raises OSError where what is printed cannot be written.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os.closerange(0, line.fileno())
    os.closerange(line.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    with contextlib.suppress(OSError):
        talk.tell(line, talk.ENDED, status & 0xFF)
    os._exit(status)
