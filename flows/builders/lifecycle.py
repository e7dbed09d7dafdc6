"""The life of a builder: found or created, started, and removed if it was created for one run."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from flows.builders import docker_container, kubernetes, remote
from flows.builders.buildx_cli import QUICK, builder_locked, buildx, described
from flows.builders.engine import context_name
from flows.builders.errors import BuilderFailed, BuildxFailed, OtherContext, cannot_create
from flows.builders.listing import ENGINE, BuilderNode, driver_of, known_builders, values
from rootfs.errors import BaseforgeError, InputError, MachineError
from rootfs.process.run import Log
from rootfs.recipe.builder import BuilderPlan

PREFIX = "baseforge-"
OLDEST = (0, 11)  # the first BuildKit that writes an OCI layout as a folder (`tar=false`)


class BuilderDriver(Protocol):
    """A driver's module: what buildx does not do by itself.

    `SPARE` is how many seconds after a plan's time buildx may still report what is wrong.
    """

    SPARE: float

    def reach(self, plan: BuilderPlan) -> None:
        """Check that the service it runs on answers. Raises ServiceUnreachable within seconds."""

    def with_driver_options(self, plan: BuilderPlan, run_id: str) -> BuilderPlan:
        """The plan with the driver's own options, and with the run's id as a label if the driver has labels."""

    def explain(self, name: str, plan: BuilderPlan) -> str:
        """Why a builder does not start, if buildx cannot say; else empty."""

    def remove_leftovers(self, prefix: str, *, late: bool = False) -> None:
        """Remove what builders with this prefix left behind after buildx has forgotten them."""


DRIVERS: dict[str, BuilderDriver] = {"docker-container": docker_container, "kubernetes": kubernetes, "remote": remote}


@dataclass(frozen=True)
class AcquiredBuilder:
    """A builder that a run uses. `ours` says whether it was created for the run and is removed after it."""

    name: str
    driver: str
    plan: BuilderPlan
    ours: bool = False

    @property
    def title(self) -> str:
        """The name to show: the driver's for a builder of one run, whose own name says nothing."""
        return self.driver if self.ours else self.name


@dataclass(frozen=True)
class Lease:
    """A builder that is up, with its BuildKit's version and why it was selected."""

    taken: AcquiredBuilder
    buildkit: str
    why: str


@dataclass(frozen=True)
class Leases:
    """The builders that a flow run holds, by the key of what selected them; `created` names those that it makes.

    Images that are built side by side share them, so they are changed only while `lock` is held.
    """

    run_id: str
    held: dict[str, Lease] = field(default_factory=dict)
    taken: list[AcquiredBuilder] = field(default_factory=list)
    created: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    slots: dict[str, threading.Semaphore] = field(default_factory=dict)

    def slot(self, key: str, most: int) -> contextlib.AbstractContextManager[object]:
        """A place among the `most` builds that use a builder at once, for the block; 0 means any number."""
        if not most:
            return contextlib.nullcontext()
        with self.lock:
            return self.slots.setdefault(key, threading.Semaphore(most))

    def remove_created(self) -> None:
        """Remove the builders that the run makes at once, on the way out of an interrupt."""
        for name, driver in self.created:
            remove(name, driver, late=True)


def acquire(plan: BuilderPlan, driver: str, run_id: str, number: int, log: Log) -> AcquiredBuilder:
    """Find or create the planned builder; it is not started. An ephemeral one is named after the run and `number`.

    Raises InputError, ServiceUnreachable, LockHeld and BuildxMissing.
    """
    if plan.lifecycle == "existing":
        return AcquiredBuilder(plan.name, driver, plan)
    DRIVERS[plan.driver].reach(plan)
    if plan.lifecycle == "persistent":
        with builder_locked(plan.name, _longest_start(plan, driver) + QUICK):
            return _persistent(plan, log)
    taken = AcquiredBuilder(name_of(run_id, number), plan.driver, plan, ours=True)
    _create(taken.name, DRIVERS[plan.driver].with_driver_options(plan, run_id), log)
    return taken


def name_of(run_id: str, number: int) -> str:
    """The name of a run's builder. buildx has no labels, so builders are found by name.

    No name is the prefix of another one, nor of a node's name, which is the builder's with a number.
    """
    return f"{PREFIX}{run_id}-{number}x"


def existing_driver(name: str) -> str:
    """The driver of an existing builder. Raises InputError, OtherContext, BuildxMissing and BuildxFailed."""
    if name == context_name():  # the engine's own builder, which needs no buildx
        return ENGINE
    if (driver := driver_of(name)) == ENGINE:
        raise OtherContext(name)
    return driver


def _persistent(plan: BuilderPlan, log: Log) -> AcquiredBuilder:
    plan = DRIVERS[plan.driver].with_driver_options(plan, "")
    there = known_builders().get(plan.name)
    if there is None:
        _create(plan.name, plan, log)
    elif there.driver != plan.driver or any(_differs(node, plan) for node in there.nodes):
        raise InputError(
            "it is there, with another driver, address or other options than are asked for",
            where=f"builder {plan.name}",
            hint=(
                f"After `baseforge builder rm {plan.name}` a build makes it anew; `baseforge builder inspect` shows it."
            ),
        )
    return AcquiredBuilder(plan.name, plan.driver, plan)


def _differs(node: BuilderNode, plan: BuilderPlan) -> bool:
    moved = plan.driver == "remote" and node.endpoint != plan.endpoint
    return moved or node.driver_options != plan.options


def _create(name: str, plan: BuilderPlan, log: Log) -> None:
    try:
        buildx("create", "--name", name, *described(plan), log=log)
    except BuildxFailed as error:
        raise cannot_create(name, plan.driver, error.message) from error


def start(taken: AcquiredBuilder, log: Log) -> str:
    """Start a builder if it does not run, check its BuildKit's version, and return that version.

    One of this run alone needs no lock. Raises BuilderFailed, also when it is not up in the plan's time,
    ServiceUnreachable, LockHeld and MachineError.
    """
    if taken.driver == ENGINE:
        return ""
    longest = _longest_start(taken.plan, taken.driver)
    try:
        with contextlib.nullcontext() if taken.ours else builder_locked(taken.name, longest + QUICK):
            output = buildx("inspect", "--bootstrap", taken.name, wait=longest, log=log)
    except BuildxFailed as error:
        reason = DRIVERS[taken.driver].explain(taken.name, taken.plan) or error.message
        raise BuilderFailed(taken.name, taken.driver, "starting", reason) from error
    for fault in values("Error", output):
        raise BuilderFailed(taken.name, taken.driver, "starting", fault)
    versions = values("BuildKit version", output)
    for version in versions:
        _new_enough(taken, version)
    return ", ".join(dict.fromkeys(versions))


def _longest_start(plan: BuilderPlan, driver: str) -> float:
    return plan.timeout + DRIVERS[driver].SPARE


def _new_enough(taken: AcquiredBuilder, version: str) -> None:
    """Check the version. Some distributions build BuildKit as v0.0.0+unknown, which is accepted."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (0, 0) < (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise MachineError(
            f"its BuildKit is {version}; {'.'.join(map(str, OLDEST))} is the oldest that will do",
            where=f"builder {taken.name} ({taken.driver})",
            hint="Give it a newer image (driver option `image`), or update the daemon.",
        )


def replacement_plan(taken: AcquiredBuilder) -> BuilderPlan | None:
    """The plan of an ephemeral builder that can replace this failed one; None if there cannot be one."""
    if taken.driver in (ENGINE, "remote"):
        return None
    plan = taken.plan
    if plan.lifecycle == "existing":
        there = known_builders().get(taken.name)
        if there is None or not there.nodes:
            return None
        node = there.nodes[0]
        endpoint = node.endpoint if taken.driver == "docker-container" else ""
        actual = {"driver": taken.driver, "endpoint": endpoint, "flags": node.flags, "options": node.driver_options}
        plan = plan.model_copy(update=actual)
    return plan.model_copy(update={"lifecycle": "ephemeral", "name": ""})


def remove(name: str, driver: str, *, late: bool = False) -> None:
    """Remove a builder of ours and its cache. Never raises: housekeeping finds by name what is left.

    `late` says that the engine may still be creating it.
    """
    with contextlib.suppress(BaseforgeError):  # it was never created, or its engine is gone and buildx has forgotten it
        buildx("rm", "--force", name)
    DRIVERS[driver].remove_leftovers(name, late=late)


def remove_all(run_ids: Collection[str]) -> None:
    """Remove every builder of these runs. Never raises."""
    prefixes = tuple(f"{PREFIX}{run_id}-" for run_id in run_ids)
    with contextlib.suppress(BaseforgeError):
        for name in known_builders():
            if name.startswith(prefixes):
                buildx("rm", "--force", name)
    for prefix in prefixes:
        for driver in DRIVERS.values():
            driver.remove_leftovers(prefix)
