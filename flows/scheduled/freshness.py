"""The alarm about images that nobody checks any more. It has a clock of its own: perhaps no night happens at all."""

from __future__ import annotations

from flows.night.freshness import ImageState, read_states, stale_alarms, support_alarms
from flows.night.notify import notify_of_alarms
from flows.orchestration import outage
from flows.orchestration.flow import flow
from flows.runtime.context import Context


@flow(name="freshness", flow_run_name="freshness")
def freshness(ctx: Context) -> tuple[str, ...]:
    """Look in the store which images are stale and which distributions lose their support, and tell it.

    That an image is stale is told again every day, the rest once. Returns the alarms.
    """
    states = read_states(ctx.store, ctx.settings.fresh_within)
    stale, support = stale_alarms(states), support_alarms(states)
    for alarm in (*stale, *support):
        ctx.progress.say(f"warning: {alarm}")
    if not stale:
        ctx.progress.say("freshness: no image is stale")
    outage.show_table([_row(each) for each in states], "freshness")
    notify_of_alarms(ctx.settings, ctx.store, "freshness", stale, ctx.progress.say, daily=True)
    notify_of_alarms(ctx.settings, ctx.store, "support", support, ctx.progress.say)
    return (*stale, *support)


def _row(state: ImageState) -> dict[str, str]:
    """An image in the table: every row has the same columns."""
    return {"image": state.image, **dict.fromkeys(("checked", "fresh", "support", "waiting"), ""), **state.texts()}
