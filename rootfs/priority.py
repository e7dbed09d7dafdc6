"""How a process of ours makes way for all others: those that somebody waits for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from pathlib import Path

LAST = 19  # the nice value of whoever waits for everybody

# Linux shares processors among sessions first, and only then inside each (sched(7), "The autogroup feature").
SESSION = Path("/proc/self/autogroup")

# Who has the longest slice is interrupted by everybody who wakes up, in another session too (since Linux 6.12,
# `__setparam_fair` and `PREEMPT_SHORT` in kernel/sched); Python has no call for it. The numbers of the system call are
# from arch/x86/entry/syscalls and asm-generic.
SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
ATTRIBUTES = struct.Struct("IIQiIQQQ")  # struct sched_attr: size, policy, flags, nice, priority, runtime and two more
SLICE = 100_000_000  # nanoseconds: the longest there is


def step_back() -> None:
    """Let this process have what time of the processors nobody else wants, and none that somebody waits for.

    To be nice is not enough: who wakes up is then put where others wait already, or waits for our turn to end. A
    processor with nobody but us counts as idle only under this policy.
    """
    os.nice(LAST)
    _take_long_slices()
    with contextlib.suppress(OSError):  # a sandbox that forbids it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):  # a kernel that has no such feature
        SESSION.write_text(str(LAST))


def _take_long_slices() -> None:
    if number := SET_ATTRIBUTES.get(platform.machine()):
        said = ATTRIBUTES.pack(ATTRIBUTES.size, os.SCHED_OTHER, 0, LAST, 0, SLICE, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, said, 0)  # a kernel that knows no slices does without
