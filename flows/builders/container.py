"""The `docker-container` driver: BuildKit in a container of the engine behind the current docker context."""

from __future__ import annotations

import contextlib
import time

from flows.builders.engine import FAULTS, LABEL, Engine, connect
from rootfs.errors import BaseforgeError
from rootfs.recipe.builder import BuilderPlan

NODE = "buildx_buildkit_"  # what buildx puts before a node's name
LATE = 2.0  # seconds in which an engine may still finish a container that nobody waits for any more
PROBE = "/bin/true"  # what buildx starts to see whether an engine has GPUs
STARTED = 2.0  # seconds until it has, and one more: an engine lists when a container was created in whole seconds
SPARE = 0.0  # buildx has no limit of its own


def reach(plan: BuilderPlan) -> None:
    """The engine is at hand already."""


def prepared(plan: BuilderPlan, run_id: str) -> BuilderPlan:
    """With the run's id. The driver has no labels for containers; BuildKit's worker has, and `inspect` shows them."""
    labels = (f"--oci-worker-labels={LABEL}={run_id}",) if run_id else ()
    return plan.model_copy(update={"flags": (*plan.flags, *labels)})


def explain(name: str, plan: BuilderPlan) -> str:  # noqa: ARG001 - as for the other drivers
    """buildx says it all."""
    return ""


def remove_leftovers(prefix: str, *, late: bool = False) -> None:
    """Remove containers and volumes of builders whose name begins so, where buildx could not, as when it was killed.

    An engine goes on making a container that it was asked for: where it may be `late`, look again for a while.
    """
    until = time.monotonic() + (LATE if late else 0)
    with contextlib.suppress(BaseforgeError), connect() as engine:
        while not _removed(engine, f"{NODE}{prefix}") and time.monotonic() < until:
            time.sleep(0.2)
        _remove_probes(engine)


def _removed(engine: Engine, prefix: str) -> bool:
    """Whether there was a container of such a name; it is gone now, and the volumes are."""
    api = engine.client.api
    found = False
    for container in api.containers(all=True, filters={"name": f"^/{prefix}"}):
        found = True
        with contextlib.suppress(*FAULTS):
            api.remove_container(container["Id"], force=True, v=True)
    for volume in api.volumes(filters={"name": prefix})["Volumes"] or []:
        if volume["Name"].startswith(prefix):
            with contextlib.suppress(*FAULTS):
                api.remove_volume(volume["Name"], force=True)
    return found


def _remove_probes(engine: Engine) -> None:
    """Remove containers that a killed buildx made to see whether the engine has GPUs, and did not come to start.

    They have neither a name nor a label of ours (hasGPUCapability in buildx's driver/docker-container/driver.go).
    """
    api = engine.client.api
    with engine.during("looking for what buildx has left"):
        for container in api.containers(all=True, filters={"status": "created"}):
            if container["Command"] == PROBE and time.time() - container["Created"] > STARTED:
                with contextlib.suppress(*FAULTS):
                    asked = api.inspect_container(container["Id"])["HostConfig"]
                    if asked["AutoRemove"] and asked["DeviceRequests"]:
                        api.remove_container(container["Id"], v=True)
