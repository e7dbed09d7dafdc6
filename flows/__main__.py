"""The way in: until the command line is loaded there is nothing to clean up, and Ctrl-C just ends the program."""

import atexit
import gc
import signal
import sys
from types import ModuleType

signal.signal(signal.SIGINT, signal.SIG_DFL)
# Loading all we need makes half a million objects that stay until the end: to look for garbage among them, again and
# again and once more when everything goes with the process, takes half a second.
gc.set_threshold(500_000)
atexit.register(gc.freeze)
# Prefect brings senders of messages along, which nothing here uses: loading them takes 0.1 s of every build.
for unused in ("prefect.blocks.notifications", "prefect.blocks.webhook"):
    sys.modules[unused] = ModuleType(unused)

from flows.cli import main  # noqa: E402 - it takes half a second, in which an interrupt would print a traceback

if __name__ == "__main__":
    main()
