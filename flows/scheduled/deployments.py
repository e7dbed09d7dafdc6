"""The deployments: flows that a schedule or a person starts, by `serve` or on the workers of a work pool."""

from __future__ import annotations

from typing import Any, cast

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.build import build
from flows.cleanup_flow import housekeeping
from flows.config.settings import Settings
from flows.orchestration.health import TAG
from flows.scheduled.freshness import freshness
from flows.scheduled.nightly import nightly
from flows.scheduled.watch import watch

NEVER = "0 0 1 1 *"  # of a schedule that is not active
# A night that is still running when the next is due is let finish.
ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def deployments(settings: Settings) -> tuple[RunnerDeployment, ...]:
    """Each flow's deployment under the flow's own name, as `build/build`, with the schedules of the settings."""
    night = Cron(settings.nightly_cron, timezone=settings.timezone, slug="nightly")
    # Without a schedule Prefect would keep that of an earlier time.
    often = Cron(
        settings.watch_cron or NEVER, timezone=settings.timezone, slug="watch", active=bool(settings.watch_cron)
    )
    return (
        deployment_of(build),
        deployment_of(nightly, schedule=night, concurrency_limit=ONE),
        deployment_of(watch, schedule=often, concurrency_limit=ONE),
        deployment_of(freshness, schedule=Cron("15 * * * *", slug="freshness")),
        deployment_of(housekeeping, schedule=Cron("30 * * * *", slug="housekeeping")),
    )


def deployment_of(flow: Flow[..., Any], **how: Any) -> RunnerDeployment:  # noqa: ANN401 - Prefect's own arguments
    """The deployment of a flow, under its own name; each machine imports the flow from the installed package."""
    made = flow.to_deployment(flow.name, tags=[TAG], entrypoint_type=EntrypointType.MODULE_PATH, **how)
    return cast(RunnerDeployment, made)  # not a coroutine: we are not in one
