"""The watch: every few minutes it asks the archives for changes, and starts a night of just the images that change.

The night is a run of its own of the nightly deployment, whose concurrency limit is one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment

from flows.night.watching import find_changes, keep_watched, look, read_watched
from flows.orchestration.flow import flow
from flows.runtime.context import Context

NIGHTLY = "nightly/nightly"
LONGEST = timedelta(days=1)  # a run that began before was killed with its machine
ACTIVE = (StateType.PENDING, StateType.RUNNING)


@flow(name="watch", flow_run_name="watch")
def watch(ctx: Context) -> tuple[str, ...]:
    """Ask the archives for changes, and start a night of the images whose locks change. Returns their names.

    Nothing is asked beside a running night, which asks itself.
    """
    if _night_runs():
        ctx.progress.say("watch: a night is running")
        return ()
    before, seen = read_watched(ctx.store), look(ctx)
    for image, problem in seen.problems.items():
        ctx.progress.say(f"watch: {image}: {problem}")
    if all(before.suites.get(suite) == state for suite, state in seen.suites.items()):
        ctx.progress.say(f"watch: {len(seen.suites)} suites, none has changed")
        return ()
    changes = find_changes(ctx, seen, before)
    if changes.images:
        ctx.progress.say(f"watch: packages have changed: {', '.join(changes.images)}")
        run_deployment(NIGHTLY, parameters={"only": list(changes.images)}, timeout=0, as_subflow=False)
    keep_watched(ctx.store, changes.after)
    return changes.images


def _night_runs() -> bool:
    """Whether a run of the nightly flow is active, wherever it was started, or due to begin."""
    now = datetime.now(UTC)
    active = {"state": {"type": {"any_": ACTIVE}}, "expected_start_time": {"after_": now - LONGEST}}
    due = {
        "state": {"type": {"any_": [StateType.SCHEDULED]}},
        "expected_start_time": {"after_": now - LONGEST, "before_": now},
    }
    with get_client(sync_client=True) as client:
        return any(
            client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": ["nightly"]}}),
                flow_run_filter=FlowRunFilter.model_validate(each),
                limit=1,
            )
            for each in (active, due)
        )
