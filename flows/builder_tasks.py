"""A builder's life as steps of a flow run: acquired, bootstrapped, used, released."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from flows.builders import lifecycle
from flows.builders.engine import Engine
from flows.builders.errors import BuilderFailed
from flows.builders.image_import import Builder, BuildxBuilder, EngineBuilder
from flows.builders.lifecycle import ENGINE, Taken
from flows.builders.select import Chosen
from flows.image.oci import Image
from flows.orchestration.step import step
from flows.publish.record import UsedBuilder
from flows.runtime import signals
from flows.runtime.context import current, logger
from flows.tasks import import_image

Answer = TypeVar("Answer")


@step("acquire {chosen.title}", network=True)
def acquire(chosen: Chosen, run_id: str, number: int) -> Taken:
    """The builder as it was chosen, created where it has to be."""
    taken = lifecycle.take(chosen.plan, chosen.driver, run_id, number, logger())
    current().progress.note(f"{chosen.plan.lifecycle}, {chosen.why}")
    return taken


@step("bootstrap {taken.title}")
def bootstrap(taken: Taken) -> str:
    """Start it where it does not run yet; returns its BuildKit's version."""
    version = lifecycle.start(taken, logger())
    current().progress.note(version)
    return version


@step("release {taken.title}", last=True)
def release(taken: Taken) -> None:
    """Remove it where it was made for this run; leave it as it is otherwise."""
    if taken.ours:
        lifecycle.remove(taken.name, taken.driver)
        current().progress.note("removed")


@dataclass(frozen=True)
class Held:
    """A builder that is up, and its BuildKit's version."""

    taken: Taken
    buildkit: str
    why: str

    @property
    def used(self) -> UsedBuilder:
        """For the record."""
        return UsedBuilder(name=self.taken.name, driver=self.taken.driver, why=self.why, buildkit=self.buildkit)

    def builder(self, engine: Engine) -> Builder:
        """What an image can be sent through."""
        if self.taken.driver == ENGINE:
            return EngineBuilder(engine, self.taken.name)
        return BuildxBuilder(engine, self.taken.name, self.taken.driver, logger())


@dataclass
class Builders:
    """What a flow run has of builders: each is acquired when it is first wanted, and once."""

    run_id: str
    _held: dict[str, Held] = field(default_factory=dict)
    _taken: list[Taken] = field(default_factory=list)
    _made: list[tuple[str, str]] = field(default_factory=list)

    def hold(self, chosen: Chosen) -> Held:
        """The builder that was chosen, up and running. One that does not come up is tried anew where that can help."""
        if held := self._held.get(chosen.key):
            return held
        taken = self._take(chosen)
        try:
            return self._up(taken, chosen.key, chosen.why)
        except BuilderFailed as failure:
            if taken.ours:  # another one just made would do no better
                raise
            return self.replace(chosen, taken, failure)

    def replace(self, chosen: Chosen, failed: Taken, failure: BuilderFailed) -> Held:
        """A fresh ephemeral builder instead of one that has failed. Raises the failure where there can be none."""
        if (plan := lifecycle.fresh(failed)) is None:
            raise failure
        logger()(str(failure))
        current().progress.say(f"{failure}\n  Trying once more, on a fresh builder.")
        if failed.ours:  # first, as it may be what fills the disk
            self._taken.remove(failed)
            release(failed)
        taken = self._take(Chosen(plan, plan.driver, f"instead of {failed.name}, which failed"))
        return self._up(taken, chosen.key, f"{chosen.why}; {failed.name} had failed")

    def _up(self, taken: Taken, key: str, why: str) -> Held:
        self._held[key] = held = Held(taken, bootstrap(taken), why)
        return held

    def _take(self, chosen: Chosen) -> Taken:
        number = len(self._made) + 1
        if chosen.plan.lifecycle == "ephemeral":  # noted before it is there: an interrupt may come in between
            self._made.append((lifecycle.name_of(self.run_id, number), chosen.driver))
        self._taken.append(taken := acquire(chosen, self.run_id, number))
        return taken

    def close(self) -> None:
        """Release each of them, the last one first."""
        while self._taken:
            release(self._taken.pop())

    def abandon(self) -> None:
        """Remove what is ours at once, without Prefect: on the way out of an interrupt."""
        for name, driver in self._made:
            lifecycle.remove(name, driver, late=True)


_builders: contextvars.ContextVar[Builders] = contextvars.ContextVar("builders")


@contextlib.contextmanager
def builders(run_id: str) -> Iterator[Builders]:
    """The builders of the night that is running, or else of this run alone: those are released when the block ends."""
    if known := _builders.get(None):
        yield known
        return
    token = _builders.set(made := Builders(run_id))
    try:
        yield made
        made.close()
    except BaseException as error:
        if isinstance(error, Exception) and not signals.came():
            made.close()
        else:
            made.abandon()
        raise
    finally:
        _builders.reset(token)


def using(chosen: Chosen, held_by: Builders, work: Callable[[Held], Answer]) -> tuple[Answer, UsedBuilder]:
    """Work with the chosen builder, once more with a fresh one where that one breaks down."""
    held = held_by.hold(chosen)
    try:
        return work(held), held.used
    except BuilderFailed as failure:
        held = held_by.replace(chosen, held.taken, failure)
        return work(held), held.used


def through(made: Image, chosen: Chosen, held_by: Builders, engine: Engine) -> UsedBuilder:
    """Import the image through the chosen builder."""
    return using(chosen, held_by, lambda held: import_image(made, held.builder(engine)))[1]
