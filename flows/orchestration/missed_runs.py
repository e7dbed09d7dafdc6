"""Skip scheduled runs that were missed while nothing served the schedule: only the newest of them does the work."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed

SKIPPED = "Skipped"
# A newer run that was cancelled or that crashed does not do the work of this one.
DUE = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING)
DONE = (StateType.COMPLETED, StateType.FAILED)
MOST = 200  # runs that are looked at


def skipped_state() -> State[Any] | None:
    """The final state of the current flow run, where a newer run of its schedule is due or done; otherwise None.

    A run that a person started, and a run outside Prefect, are never skipped. Nor is any where Prefect cannot say.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.deployment_id is None or run.expected_start_time is None:
        return None
    with contextlib.suppress(httpx.HTTPError):
        for newer in _newer(run):
            is_done = newer.state_type in DONE
            return Completed(
                name=SKIPPED,
                message=f"skipped: this run was due at {_time(run)}, and a newer one, due at {_time(newer)}, "
                + ("is done" if is_done else "does the work"),
            )
    return None


def _newer(run: FlowRun) -> list[FlowRun]:
    """Scheduled runs of the same deployment, with the same parameters, that were due after this one; newest first."""
    missed = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [run.deployment_id]},
            "expected_start_time": {"after_": run.expected_start_time, "before_": datetime.now(UTC)},
            "state": {"type": {"any_": [*DUE, *DONE]}, "name": {"not_any_": [SKIPPED]}},
        }
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=missed, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=MOST)
    return [each for each in found if each.id != run.id and each.auto_scheduled and each.parameters == run.parameters]


def _time(run: FlowRun) -> str:
    return f"{run.expected_start_time:%Y-%m-%d %H:%M} UTC"
