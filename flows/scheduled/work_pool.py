"""Set up a shared Prefect server: the work pool, the deployments on it, and what notices runs of lost workers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib.metadata import version

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type as job_template

from flows.config.settings import Settings
from flows.scheduled.deployments import deployment_of, deployments
from flows.scheduled.image import build_image
from rootfs.errors import InputError

LOST = "Baseforge: runs whose worker is lost"
EVENT = "prefect.flow-run."
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def deploy(settings: Settings, kind: str, image: str, heartbeat: timedelta) -> tuple[str, ...]:
    """Make the work pool of the settings, if it is not there, and all deployments on it; returns their names.

    Workers of the kinds `docker` and `kubernetes` run each build in a container of this `image`. After each `heartbeat`
    a run tells the server that it is alive. Raises InputError.
    """
    pool = settings.work_pool
    with get_client(sync_client=True) as client:
        _make_pool(client, pool, kind)
        _notice_lost_runs(client, heartbeat)
    made = (*deployments(settings), deployment_of(build_image))
    for each in made:
        each.version = version("baseforge")
        each.apply(work_pool_name=pool, image=image or None)
    return tuple(f"{each.flow_name}/{each.name}" for each in made)


def _make_pool(client: SyncPrefectClient, pool: str, kind: str) -> None:
    try:
        there = client.read_work_pool(pool)
    except ObjectNotFound:
        if (template := asyncio.run(job_template(kind))) is None:
            raise InputError(
                f"Prefect on this machine knows no workers of the kind {kind}",
                hint=f"Install its package beside Baseforge: uv pip install prefect-{kind}",
            ) from None
        client.create_work_pool(WorkPoolCreate(name=pool, type=kind, base_job_template=template))
    else:
        if there.type != kind:
            raise InputError(
                f"the work pool {pool} is of the kind {there.type}, not {kind}",
                hint=f"Say --kind {there.type}, or name another pool: the setting `work_pool`.",
            )


def _notice_lost_runs(client: SyncPrefectClient, heartbeat: timedelta) -> None:
    """Have the server mark a run as crashed that has sent no heartbeat for three times the usual pause.

    By itself it shows the runs of a machine that is gone as running for ever.
    """
    trigger = EventTrigger(
        after={f"{EVENT}heartbeat"},
        expect={f"{EVENT}{name}" for name in ("heartbeat", *ENDS)},
        match=ResourceSpecification({"prefect.resource.id": f"{EVENT}*"}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=3 * heartbeat,
    )
    message = "its worker has sent no heartbeat: it is lost"
    action = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=message, force=False)
    automation = AutomationCore(name=LOST, trigger=trigger, actions=[action])
    if not client.read_automations_by_name(LOST):
        client.create_automation(automation)
