"""Builders of a flow run: acquired when first needed, bootstrapped, replaced when they fail, released at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from flows.builders import image_import, lifecycle
from flows.builders.errors import BuilderFailed
from flows.builders.image_import import Builder, BuildxBuilder, EngineBuilder
from flows.builders.lifecycle import AcquiredBuilder, Lease, Leases
from flows.builders.listing import ENGINE
from flows.builders.select import SelectedBuilder
from flows.image.oci import Image
from flows.orchestration.step import step
from flows.publish.record import UsedBuilder
from flows.runtime import signals
from flows.runtime.context import BuildContext, Context

C = TypeVar("C", bound=Context)
Answer = TypeVar("Answer")


@contextlib.contextmanager
def leasing(ctx: C) -> Iterator[C]:
    """A context with builders for the block: those that it has, or else new ones that are released at the end."""
    if ctx.builders is not None:
        yield ctx
        return
    leases = Leases(ctx.run_id)
    try:
        yield replace(ctx, builders=leases)
    except BaseException as error:
        if isinstance(error, Exception) and not signals.interrupted():
            release_all(ctx, leases)
        else:
            leases.remove_created()
        raise
    release_all(ctx, leases)


@step("import {image.name}/{image.architecture} ({builder.driver})")
def import_image(ctx: BuildContext, image: Image, builder: Builder) -> str:  # noqa: ARG001 - each step has a context
    """Send an image through the builder into the engine; what arrives must have the digest that was sent."""
    return image_import.import_image(image, builder)


def builder_of(ctx: Context, lease: Lease) -> Builder:
    """The builder of a lease, ready to import images."""
    if lease.taken.driver == ENGINE:
        return EngineBuilder(ctx.engine(), lease.taken.name)
    return BuildxBuilder(ctx.engine(), lease.taken.name, lease.taken.driver, ctx.log)


def with_builder(ctx: Context, chosen: SelectedBuilder, work: Callable[[Lease], Answer]) -> tuple[Answer, UsedBuilder]:
    """Do some work with the selected builder; if the builder fails, do it again with a fresh one.

    As many images use a builder at once as the settings say.
    """
    with leases_of(ctx).slot(chosen.key, ctx.settings.builder_jobs):
        lease = lease_builder(ctx, chosen)
        try:
            return work(lease), used(lease)
        except BuilderFailed as failure:
            lease = replace_builder(ctx, chosen, lease.taken, failure)
            return work(lease), used(lease)


def used(lease: Lease) -> UsedBuilder:
    """What the record says of a builder."""
    taken = lease.taken
    return UsedBuilder(name=taken.name, driver=taken.driver, why=lease.why, buildkit=lease.buildkit)


def lease_builder(ctx: Context, chosen: SelectedBuilder) -> Lease:
    """The selected builder, up and running: acquired once for all builds of a flow run.

    One that does not come up is replaced by a fresh one where that can help.
    """
    leases = leases_of(ctx)
    with leases.lock:
        if lease := leases.held.get(chosen.key):
            return lease
        taken = _take(ctx, chosen)
        try:
            return _start(ctx, taken, chosen.key, chosen.why)
        except BuilderFailed as failure:
            if taken.ours:  # another one just made would do no better
                raise
            return replace_builder(ctx, chosen, taken, failure)


def replace_builder(ctx: Context, chosen: SelectedBuilder, failed: AcquiredBuilder, failure: BuilderFailed) -> Lease:
    """A fresh ephemeral builder instead of one that has failed. Raises the failure where there can be none."""
    leases = leases_of(ctx)
    with leases.lock:
        current = leases.held.get(chosen.key)
        if current and current.taken != failed:  # another image's build has replaced it meanwhile
            return current
        if (plan := lifecycle.replacement_plan(failed)) is None:
            raise failure
        ctx.log(str(failure))
        ctx.progress.say(f"{failure}\n  Trying once more, on a fresh builder.")
        if failed.ours:  # first, as it may be what fills the disk
            leases.taken.remove(failed)
            release(ctx, failed)
        taken = _take(ctx, SelectedBuilder(plan, plan.driver, f"instead of {failed.name}, which failed"))
        return _start(ctx, taken, chosen.key, f"{chosen.why}; {failed.name} had failed")


def leases_of(ctx: Context) -> Leases:
    """The builders that the flow run holds."""
    assert ctx.builders is not None  # noqa: S101 - builds are made in the block of `leasing`
    return ctx.builders


def _take(ctx: Context, chosen: SelectedBuilder) -> AcquiredBuilder:
    leases = leases_of(ctx)
    number = len(leases.created) + 1
    if chosen.plan.lifecycle == "ephemeral":  # noted before it is there: an interrupt may come in between
        leases.created.append((lifecycle.name_of(leases.run_id, number), chosen.driver))
    leases.taken.append(taken := acquire(ctx, chosen, leases.run_id, number))
    return taken


def _start(ctx: Context, taken: AcquiredBuilder, key: str, why: str) -> Lease:
    leases_of(ctx).held[key] = lease = Lease(taken, bootstrap(ctx, taken), why)
    return lease


def release_all(ctx: Context, leases: Leases) -> None:
    """Release each builder, the last one first."""
    while leases.taken:
        release(ctx, leases.taken.pop())


@step("acquire {chosen.title}", network=True)
def acquire(ctx: Context, chosen: SelectedBuilder, run_id: str, number: int) -> AcquiredBuilder:
    """Acquire the selected builder; it is created if necessary."""
    taken = lifecycle.acquire(chosen.plan, chosen.driver, run_id, number, ctx.log)
    ctx.note(f"{chosen.plan.lifecycle}, {chosen.why}")
    return taken


@step("bootstrap {taken.title}")
def bootstrap(ctx: Context, taken: AcquiredBuilder) -> str:
    """Start a builder where it does not run yet; returns its BuildKit's version."""
    version = lifecycle.start(taken, ctx.log)
    ctx.note(version)
    return version


@step("release {taken.title}", last=True)
def release(ctx: Context, taken: AcquiredBuilder) -> None:
    """Remove a builder where it was made for this run; leave it as it is otherwise."""
    if taken.ours:
        lifecycle.remove(taken.name, taken.driver)
        ctx.note("removed")
