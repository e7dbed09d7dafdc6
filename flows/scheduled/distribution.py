"""Build an image of a night on a worker of a work pool, as a flow run of its own.

The night's own process starts the run when the image's base images have ended, waits, and reads from the store how the
run ended. The run goes on if that process dies.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from flows.config.options import BuildOptions
from flows.publish import attempt as attempts
from flows.publish.record import Record
from flows.runtime import signals
from flows.runtime.context import Context
from flows.scheduled.image import plan_of
from rootfs.errors import BaseforgeError, MachineError

DEPLOYMENT = "image/image"
PAUSE = 2.0  # seconds between two looks at a run
PATIENCE = 900.0  # seconds in which the server, or the pool's first worker, may come back


def build_on_worker(ctx: Context, image: str, options: BuildOptions, night: str) -> Record:
    """Build an image on a worker of the settings' pool, and note the result. Raises what `wait` raises."""
    run = start(ctx, image, options, night)
    try:
        state = wait(run, ctx.settings.work_pool)
    except BaseException:
        cancel(run)
        raise
    record = ctx.results[image] = result(ctx, image, state, night)
    return record


def require_worker(pool: str) -> None:
    """Check that a worker takes runs of this pool. Raises MachineError."""
    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(pool)
            found = client.read_workers_for_work_pool(pool)
    except ObjectNotFound:
        raise no_worker(pool, "there is no such pool", "`baseforge deploy` makes it") from None
    if not any(worker.status == WorkerStatus.ONLINE for worker in found):
        raise no_worker(pool, "no worker of it is online", "Start one: `baseforge worker`")


def no_worker(pool: str, why: str, hint: str) -> MachineError:
    """Nothing would build the images of a night."""
    return MachineError(
        f"the work pool {pool} builds no images: {why}",
        where="the setting `work_pool`",
        hint=f"{hint}. Without the setting this machine builds them itself.",
    )


def start(ctx: Context, image: str, options: BuildOptions, night: str) -> UUID:
    """Start the image's run. The night makes one: its idempotency key finds it if the server's answer was lost."""
    parameters = {
        "image": image,
        "night": night,
        "planned": plan_of(ctx, image),
        "options": options.model_dump(mode="json"),
    }
    key = f"{night}-{image}"
    run = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0, idempotency_key=key)
    return cast(FlowRun, run).id  # not a coroutine: we are not in one


def wait(run: UUID, pool: str) -> State | None:
    """Wait until the run has ended; returns its state. A server or workers that are away may come back.

    Raises MachineError if they do not, and KeyboardInterrupt.
    """
    well = time.monotonic()
    while True:
        signals.raise_if_interrupted()
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(run).state
            problem = "its workers do not begin the run"
        except httpx.HTTPError as error:
            state, problem = None, f"the server does not answer ({error})"
        if state and state.is_final():
            return state
        if state and (state.is_running() or state.is_pending()):
            well = time.monotonic()
        if time.monotonic() - well > PATIENCE:
            with suppress(httpx.HTTPError):
                require_worker(pool)
                well = time.monotonic()  # they are at work on others
                continue
            raise no_worker(pool, problem, "`baseforge doctor` shows the server's state")
        time.sleep(PAUSE)


def cancel(run: UUID) -> None:
    """Cancel the run: Prefect itself would do so half a minute after the night's end, and on SQLite not always."""
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling(message="the night has ended"), force=True)


def result(ctx: Context, image: str, state: State | None, night: str) -> Record:
    """How the image's build ended, as its worker wrote it; a run that wrote nothing was killed or cancelled."""
    try:
        if record := attempts.read(ctx.store, night, image):
            return record
        reason = f"its run on a worker ended as {state.name if state else 'unknown'}: {state.message if state else ''}"
    except BaseforgeError as problem:
        reason = str(problem)
    return Record(image=image, status="failed", reason=reason, transient=True, exit_status=1)
