"""`baseforge serve`: the nightly schedule, and flows that a person can start from Prefect's pages or command line."""

from __future__ import annotations

import os
from typing import cast

import prefect
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.build import build
from flows.housekeeping import housekeeping
from flows.nightly import nightly
from flows.progress import Progress
from flows.settings import Settings

# A night that is still running when the next is due is let finish.
ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def deployments(settings: Settings) -> tuple[RunnerDeployment, ...]:
    """`build/build`, `nightly/nightly` and `housekeeping/housekeeping`, as in `deploy/prefect.yaml`."""
    schedule = Cron(settings.nightly_cron, timezone=settings.timezone, slug="nightly")
    by_hand = build.to_deployment("build", tags=["baseforge"], entrypoint_type=EntrypointType.MODULE_PATH)
    by_night = nightly.to_deployment(
        "nightly",
        schedule=schedule,
        tags=["baseforge"],
        entrypoint_type=EntrypointType.MODULE_PATH,
        concurrency_limit=ONE,
    )
    hourly = housekeeping.to_deployment(
        "housekeeping",
        schedule=Cron("30 * * * *", slug="housekeeping"),
        tags=["baseforge"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return cast(tuple[RunnerDeployment, ...], (by_hand, by_night, hourly))  # not a coroutine: we are not in one


def run(settings: Settings, address: str) -> None:
    """Serve until interrupted; one flow run at a time, as a build uses the whole machine."""
    os.environ["BASEFORGE_RECIPES"] = str(settings.recipes.absolute())
    show = Progress().say
    show(f"pages: {address.removesuffix('/api')}")
    show(f"nightly: {settings.nightly_cron} ({settings.timezone})")
    show(f"by hand: PREFECT_API_URL={address} prefect deployment run build/build --param image=noble")
    prefect.serve(*deployments(settings), pause_on_shutdown=False, print_starting_message=False, limit=1)
