"""Before all that a command needs is loaded: what makes loading it quick."""

from __future__ import annotations

import atexit
import gc
import sys
from types import ModuleType

from flows.logs import mask_logs

mask_logs()
# Loading all we need makes half a million objects that stay until the end: to look for garbage among them, again and
# again and once more when everything goes with the process, takes half a second.
gc.set_threshold(500_000)
atexit.register(gc.freeze)
# Prefect brings senders of messages along, which nothing here uses: loading them takes 0.1 s of every build.
for unused in ("prefect.blocks.notifications", "prefect.blocks.webhook"):
    sys.modules[unused] = ModuleType(unused)
