"""Interrupts: the first counts and is remembered; those that follow at once do not."""

import signal
import subprocess
import sys

SCRIPT = """
import os, signal
from flows.runtime import signals
signals.handle_interrupts()
signals.raise_if_interrupted()
try:
    os.kill(os.getpid(), signal.{first})
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print("cleaned up", signals.interrupted())
{then}
"""


def run(first, then):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first, then=then)], capture_output=True, text=True, check=False
    )


def test_a_second_interrupt_that_follows_at_once_is_ignored():
    for first in ("SIGINT", "SIGTERM"):
        done = run(first, "")
        assert (done.returncode, done.stdout) == (0, "cleaned up True\n"), done.stderr


def test_nothing_begins_after_an_interrupt():
    assert "KeyboardInterrupt" in run("SIGINT", "signals.raise_if_interrupted()").stderr


def test_a_later_interrupt_counts_again():
    assert "KeyboardInterrupt" in run("SIGINT", "signals.PATIENCE = 0; os.kill(os.getpid(), signal.SIGINT)").stderr


def test_interrupts_at_the_end_are_ignored():
    done = run("SIGINT", "signals.ignore_interrupts(); os.kill(os.getpid(), signal.SIGTERM); print('earned')")
    assert (done.returncode, done.stdout) == (0, "cleaned up True\nearned\n")


LOADING = """
import os, signal, sys
class Late:
    def find_spec(self, name, *_):
        if name == "flows.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Late())
from flows.cli.__main__ import main
main()
"""


def test_an_interrupt_while_the_command_line_loads_ends_it_without_a_traceback():
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
