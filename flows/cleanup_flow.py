"""The housekeeping flow: it removes what killed runs have left behind, also runs of other machines on this engine."""

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

from flows.cleanup import LONGEST, clean_up
from flows.orchestration import lost_server
from flows.orchestration.flow import flow
from flows.runtime.context import Context

FLOWS = ("build", "nightly", "watch", "verify", "freshness", "housekeeping")


@flow(name="housekeeping", flow_run_name="housekeeping")
def housekeeping(ctx: Context) -> list[str]:
    """Remove builders, containers and work folders of runs that have ended; returns the ids of those runs.

    Half-written blobs are removed too, and old partial downloads. Names of images that an interrupted run has not moved
    are moved to what the store says.

    A run of this machine has ended when nobody holds its lock. Of others that share the engine Prefect may know; one
    that it does not know, or has as running, counts as ended when its newest trace is a day old. Killed
    runs become crashed ones in Prefect, which would show them as running for ever.
    """
    ended = clean_up(ctx, _has_ended)
    tell_prefect(ended)
    return ended


def tell_prefect(ended: Iterable[str]) -> None:
    """Mark runs as crashed that Prefect has as running: these, and those that have taken longer than any run does."""
    run_ids: list[UUID] = []
    for run in ended:
        with contextlib.suppress(ValueError):  # a run without Prefect may have an id of another form
            run_ids.append(UUID(run))
    running = {"state": {"type": {"any_": [StateType.RUNNING]}}}
    filters: list[dict[str, object]] = [{"id": {"any_": [run_id]}} for run_id in run_ids]
    filters.append({"start_time": {"before_": datetime.now(UTC) - LONGEST}})
    with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        for each_filter in filters:
            found = client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": list(FLOWS)}}),
                flow_run_filter=FlowRunFilter.model_validate({**running, **each_filter}),
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
