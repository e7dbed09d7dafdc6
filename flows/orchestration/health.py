"""Whether the services of the Prefect server do their work: its API answers also when they have failed.

The runs of the schedules show it: the scheduler makes each run some time before it is due, and the service for late
runs renames those that nobody has begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from httpx import HTTPError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as Calendar
from prefect.settings import get_current_settings

TAG = "baseforge"  # of each of our deployments
LATE = timedelta(seconds=60)  # after this time a run that nobody has begun is called `Late`; Prefect's default is 15 s
SOON = 45.0  # seconds in which the runs of a new deployment are made, usually 5
PATIENCE = 120.0  # seconds that a problem may last: a busy server may be slow
OFTEN, SELDOM = 1.0, 20.0  # seconds from one look to the next: until the first runs are made, and afterwards


@dataclass(frozen=True)
class Health:
    """How many runs are scheduled, when the next one of each deployment is due, and what is wrong, if anything is."""

    scheduled: int = 0
    late: int = 0
    due: tuple[tuple[str, datetime], ...] = ()
    problem: str = ""


async def look() -> Health:
    """Ask the server that Prefect is connected to. A server that does not answer has a problem."""
    try:
        async with get_client() as client:
            return await _examined(client)
    except (OSError, HTTPError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        return Health(problem=f"the API fails ({type(error).__name__}: {error})")


async def _examined(client: PrefectClient) -> Health:
    served = await client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])), limit=200
    )
    now = datetime.now(UTC)
    due, scheduled, problem = [], 0, ""
    for deployment in served:
        dates = await _dates(deployment)
        found = await _count(client, [deployment], "Scheduled", after_=now)
        if dates:
            due.append((deployment.name, dates[0]))
        if found < len(dates):
            problem = f"the scheduler has made {found} runs of {deployment.name}, and should have made {len(dates)}"
        scheduled += found
    if served and (forgotten := await _count(client, served, "Scheduled", before_=now - LATE)):
        problem = f"{forgotten} runs are past due and were neither begun nor called late"
    late = await _count(client, served, "Late") if served else 0
    return Health(scheduled, late, tuple(due), problem)


async def _count(client: PrefectClient, deployments: list[DeploymentResponse], name: str, **when: datetime) -> int:
    """How many runs of these deployments have a state of this name."""
    return await client.count_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[each.id for each in deployments])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[name])),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate(when) if when else None,
        ),
    )


async def _dates(deployment: DeploymentResponse) -> list[datetime]:
    """The due times of the runs that the scheduler must have made by now."""
    scheduler = get_current_settings().server.services.scheduler
    farthest = datetime.now(UTC) + scheduler.max_scheduled_time - timedelta(days=1)
    dates: list[datetime] = []
    for schedule in [] if deployment.paused else deployment.schedules:
        if schedule.active and isinstance(cron := schedule.schedule, CronSchedule):
            calendar = Calendar(cron=cron.cron, timezone=cron.timezone, day_or=cron.day_or)
            dates += await calendar.get_dates(n=scheduler.min_runs, end=farthest)
    return sorted(dates)


async def until_scheduled() -> Health:
    """Wait until the runs of all schedules are made. If that takes too long, the result has a problem."""
    end = time.monotonic() + SOON
    while (health := await look()).problem and time.monotonic() < end:
        await asyncio.sleep(OFTEN)
    return health


async def until_failing(idle: Callable[[], bool]) -> str:
    """Watch the services; returns what is wrong once a problem has lasted and we are `idle`."""
    well = time.monotonic()
    while True:
        problem = (await look()).problem
        if not problem:
            well = time.monotonic()
        elif time.monotonic() - well > PATIENCE and idle():
            return problem
        await asyncio.sleep(SELDOM)
