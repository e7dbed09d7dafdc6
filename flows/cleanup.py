"""The housekeeping flow: what runs have left behind goes, also where nothing on this machine remembers them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.cleanup_steps import LONGEST, clean_up
from flows.orchestration import lost_server
from flows.orchestration.flow import flow
from flows.runtime.context import Context

FLOWS = ("build", "nightly", "verify", "housekeeping")


@flow(name="housekeeping", flow_run_name="housekeeping")
def housekeeping(ctx: Context) -> list[str]:
    """Remove builders, containers and work folders of runs that have ended; returns the ids of those runs.

    What is half-written in the store goes too, and in time what is half downloaded. The names of images in the registry
    and the engine are moved to what the store says, where a run that moved them was interrupted.

    A run of this machine has ended when nobody holds its lock. Of others that share the engine Prefect may know; one
    that it does not know, or takes for running, counts as ended when its newest trace is a day old. Prefect is told of
    runs that were killed: it would show them as running, and keep them, for ever.
    """
    ended = clean_up(ctx, _has_ended)
    tell_prefect(ended)
    return ended


def tell_prefect(ended: Iterable[str]) -> None:
    """Mark runs as crashed that Prefect has as running: these, and those that have taken longer than any run does."""
    known: list[UUID] = []
    for name in ended:
        with contextlib.suppress(ValueError):  # a run without Prefect may have a name of another form
            known.append(UUID(name))
    running = {"state": {"type": {"any_": [StateType.RUNNING]}}}
    wanted: list[dict[str, object]] = [{"id": {"any_": [run]}} for run in known]
    wanted.append({"start_time": {"before_": datetime.now(UTC) - LONGEST}})
    with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        for chosen in wanted:
            found = client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": list(FLOWS)}}),
                flow_run_filter=FlowRunFilter.model_validate({**running, **chosen}),
            )
            for each in found:
                client.set_flow_run_state(each.id, Crashed(message="its process was killed"), force=True)


def _has_ended(run: str) -> bool:
    """Whether Prefect knows that the flow run has ended; where its server is lost, it does not."""
    with get_client(sync_client=True) as client:
        try:
            state = None if lost_server.reason() else client.read_flow_run(UUID(run)).state
        except (ObjectNotFound, ValueError, httpx.HTTPError):
            return False
    return state is not None and state.is_final()
