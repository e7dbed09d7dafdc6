"""A process that makes way for all others, as the kernel has it then."""

import os
import platform
import sys

import pytest

from rootfs import priority
from rootfs.engines import own
from rootfs.run import run

SAID = """
import ctypes, os, sys
from rootfs.priority import ATTRIBUTES, step_back
step_back()
said = ctypes.create_string_buffer(ATTRIBUTES.size)
ctypes.CDLL(None).syscall(int(sys.argv[1]), 0, said, ATTRIBUTES.size, 0)
print(os.nice(0), os.sched_getscheduler(0), ATTRIBUTES.unpack(said.raw)[5])
"""
SLICES = (6, 12)  # since which version Linux has them


def said(program, *words):
    """In a process of its own, as there is no way back from there."""
    return run([sys.executable, "-c", program, *words], env=own.ENVIRONMENT).stdout.split()


def test_it_is_last_in_every_way():
    number = priority.SET_ATTRIBUTES.get(platform.machine(), -2) + 1  # which asks for them, on each machine
    nice, policy, runtime = said(SAID, number)
    assert (nice, policy) == ("19", str(os.SCHED_IDLE))
    version = tuple(map(int, platform.release().split("-", maxsplit=1)[0].split(".")[:2]))
    if version >= SLICES and number > 0:
        assert int(runtime) == priority.SLICE


@pytest.mark.skipif(not priority.SESSION.exists(), reason="this kernel does not share processors among sessions")
def test_its_session_is_last_too():
    shown = "import rootfs.priority as it; it.step_back(); print(it.SESSION.read_text())"
    assert said(shown)[-2:] == ["nice", "19"]


FORBIDDEN = """
import os
from rootfs import priority

def forbidden(*_):
    raise PermissionError

os.sched_setscheduler = forbidden
priority.SESSION = priority.Path("/nonexistent")
priority.SET_ATTRIBUTES = {}
priority.step_back()
print(os.nice(0))
"""


def test_what_cannot_be_is_left_out():
    assert said(FORBIDDEN) == ["19"]
