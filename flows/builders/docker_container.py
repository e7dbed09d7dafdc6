"""The `docker-container` driver: BuildKit in a container of the engine behind the current docker context."""

from __future__ import annotations

import contextlib
import time

from flows.builders.engine import FAULTS, LABEL, Engine, connect
from rootfs.errors import BaseforgeError
from rootfs.recipe.builder import BuilderPlan

NODE = "buildx_buildkit_"  # what buildx puts before a node's name
LATE = 2.0  # seconds in which an engine may still finish a container after its client has gone
PROBE = "/bin/true"  # the command by which buildx checks whether an engine has GPUs
STARTED = 2.0  # seconds for that check, and one more, as an engine lists creation times in whole seconds
SPARE = 0.0  # seconds more than the plan's time: buildx has no timeout of its own


def reach(plan: BuilderPlan) -> None:
    """Nothing to check: the engine has answered already."""


def with_driver_options(plan: BuilderPlan, run_id: str) -> BuilderPlan:
    """The plan with the run's id as a label of BuildKit's worker, as this driver has no labels for containers."""
    labels = (f"--oci-worker-labels={LABEL}={run_id}",) if run_id else ()
    return plan.model_copy(update={"flags": (*plan.flags, *labels)})


def explain(name: str, plan: BuilderPlan) -> str:  # noqa: ARG001 - as for the other drivers
    """Nothing to add to buildx's own message."""
    return ""


def remove_leftovers(prefix: str, *, late: bool = False) -> None:
    """Remove containers and volumes of builders with this prefix that buildx left behind, for example when killed.

    An engine finishes a container that it was asked for. With `late`, look again for a while.
    """
    until = time.monotonic() + (LATE if late else 0)
    with contextlib.suppress(BaseforgeError), connect() as engine:
        while not _removed(engine, f"{NODE}{prefix}") and time.monotonic() < until:
            time.sleep(0.2)
        _remove_probes(engine)


def _removed(engine: Engine, prefix: str) -> bool:
    """Remove containers and volumes with this prefix; returns whether there was a container."""
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
    """Remove containers that a killed buildx created to check for GPUs, and did not start.

    They have no name or label of ours (hasGPUCapability in buildx's driver/docker-container/driver.go).
    """
    api = engine.client.api
    with engine.during("looking for what buildx has left"):
        for container in api.containers(all=True, filters={"status": "created"}):
            if container["Command"] == PROBE and time.time() - container["Created"] > STARTED:
                with contextlib.suppress(*FAULTS):
                    asked = api.inspect_container(container["Id"])["HostConfig"]
                    if asked["AutoRemove"] and asked["DeviceRequests"]:
                        api.remove_container(container["Id"], v=True)
