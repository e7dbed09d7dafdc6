"""How a builder comes and goes: taken or created, started, and removed where it was made for one run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from flows.builders import container, kubernetes, remote
from flows.builders.buildx_cli import buildx, described
from flows.builders.engine import context_name
from flows.builders.errors import BuilderFailed, BuildxFailed, OtherContext, cannot_create
from flows.builders.listing import Node, driver_of, known, values
from rootfs.errors import BaseforgeError, InputError, MachineError
from rootfs.process.run import Log
from rootfs.recipe.builder import BuilderPlan

ENGINE = "docker"  # the driver of the builder that is the engine itself
PREFIX = "baseforge-"
OLDEST = (0, 11)  # the first BuildKit that writes an OCI layout as a folder (`tar=false`)


class Driver(Protocol):
    """What a file of a driver has, besides what buildx knows of it.

    `SPARE` is for how many seconds after a plan's time buildx itself may still say what is wrong.
    """

    SPARE: float

    def reach(self, plan: BuilderPlan) -> None:
        """See that what it runs on answers. Raises ServiceUnreachable in seconds."""

    def prepared(self, plan: BuilderPlan, run_id: str) -> BuilderPlan:
        """The plan with what the driver wants besides, and the run's id, if there is one, where it has labels."""

    def explain(self, name: str, plan: BuilderPlan) -> str:
        """Why it does not come up, where buildx cannot say that; else empty."""

    def remove_leftovers(self, prefix: str, *, late: bool = False) -> None:
        """Remove what builders with such names have left where buildx no longer knows them."""


DRIVERS: dict[str, Driver] = {"docker-container": container, "kubernetes": kubernetes, "remote": remote}


@dataclass(frozen=True)
class Taken:
    """A builder that a run uses: its name and driver, what it was to be, and whether it goes with the run."""

    name: str
    driver: str
    plan: BuilderPlan
    ours: bool = False

    @property
    def title(self) -> str:
        """What a person calls it: the name of one that goes with the run means nothing to anybody."""
        return self.driver if self.ours else self.name


def take(plan: BuilderPlan, driver: str, run_id: str, number: int, log: Log) -> Taken:
    """The builder as planned, not started yet; an ephemeral one is named after the run, as its `number`th.

    Raises InputError, ServiceUnreachable and BuildxMissing.
    """
    if plan.lifecycle == "existing":
        return Taken(plan.name, driver, plan)
    DRIVERS[plan.driver].reach(plan)
    if plan.lifecycle == "persistent":
        return _persistent(plan, log)
    taken = Taken(name_of(run_id, number), plan.driver, plan, ours=True)
    _create(taken.name, DRIVERS[plan.driver].prepared(plan, run_id), log)
    return taken


def name_of(run_id: str, number: int) -> str:
    """What a run's builders are called: buildx has no labels, so the name is what they are found by.

    No name begins with another one, nor does the name of a node, which is the builder's with a number.
    """
    return f"{PREFIX}{run_id}-{number}x"


def existing_driver(name: str) -> str:
    """The driver of a builder that is there. Raises InputError, OtherContext, BuildxMissing and BuildxFailed."""
    if name == context_name():  # an engine brings it along, and it needs no buildx
        return ENGINE
    if (driver := driver_of(name)) == ENGINE:
        raise OtherContext(name)
    return driver


def _persistent(plan: BuilderPlan, log: Log) -> Taken:
    plan = DRIVERS[plan.driver].prepared(plan, "")
    there = known().get(plan.name)
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
    return Taken(plan.name, plan.driver, plan)


def _differs(node: Node, plan: BuilderPlan) -> bool:
    moved = plan.driver == "remote" and node.endpoint != plan.endpoint
    return moved or node.driver_options != plan.options


def _create(name: str, plan: BuilderPlan, log: Log) -> None:
    try:
        buildx("create", "--name", name, *described(plan), log=log)
    except BuildxFailed as error:
        raise cannot_create(name, plan.driver, error.message) from error


def start(taken: Taken, log: Log) -> str:
    """Start it where it is not running, and see that its BuildKit is new enough; returns the version.

    Raises BuilderFailed, also when it is not up in the plan's time, ServiceUnreachable and MachineError.
    """
    if taken.driver == ENGINE:
        return ""
    spare = DRIVERS[taken.driver].SPARE
    try:
        said = buildx("inspect", "--bootstrap", taken.name, wait=taken.plan.timeout + spare, log=log)
    except BuildxFailed as error:
        reason = DRIVERS[taken.driver].explain(taken.name, taken.plan) or error.message
        raise BuilderFailed(taken.name, taken.driver, "starting", reason) from error
    for fault in values("Error", said):
        raise BuilderFailed(taken.name, taken.driver, "starting", fault)
    versions = values("BuildKit version", said)
    for version in versions:
        _new_enough(taken, version)
    return ", ".join(dict.fromkeys(versions))


def _new_enough(taken: Taken, version: str) -> None:
    """One built without its version, as some distributions do, calls itself v0.0.0+unknown: no reason to refuse it."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (0, 0) < (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise MachineError(
            f"its BuildKit is {version}; {'.'.join(map(str, OLDEST))} is the oldest that will do",
            where=f"builder {taken.name} ({taken.driver})",
            hint="Give it a newer image (driver option `image`), or update the daemon.",
        )


def fresh(taken: Taken) -> BuilderPlan | None:
    """The plan of an ephemeral builder like this one, which has failed; None where there can be none."""
    if taken.driver in (ENGINE, "remote"):
        return None
    plan = taken.plan
    if plan.lifecycle == "existing":
        there = known().get(taken.name)
        if there is None or not there.nodes:
            return None
        node = there.nodes[0]
        endpoint = node.endpoint if taken.driver == "docker-container" else ""
        said = {"driver": taken.driver, "endpoint": endpoint, "flags": node.flags, "options": node.driver_options}
        plan = plan.model_copy(update=said)
    return plan.model_copy(update={"lifecycle": "ephemeral", "name": ""})


def remove(name: str, driver: str, *, late: bool = False) -> None:
    """Remove a builder of ours with all it kept. Never raises: what is left, the next housekeeping finds by its name.

    With `late` its engine may still be making it.
    """
    with contextlib.suppress(BaseforgeError):  # it never came to be, or its engine is gone and buildx has forgotten it
        buildx("rm", "--force", name)
    DRIVERS[driver].remove_leftovers(name, late=late)


def remove_all(run_ids: Collection[str]) -> None:
    """Remove every builder that these runs have made. Never raises."""
    prefixes = tuple(f"{PREFIX}{run_id}-" for run_id in run_ids)
    with contextlib.suppress(BaseforgeError):
        for name in known():
            if name.startswith(prefixes):
                buildx("rm", "--force", name)
    for prefix in prefixes:
        for driver in DRIVERS.values():
            driver.remove_leftovers(prefix)
