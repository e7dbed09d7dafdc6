"""What `baseforge nightly` prints: its plan, and how it ended."""

from __future__ import annotations

from flows.cli.builder_output import Table, show
from flows.cli.output import ending, print_json
from flows.night.document import Night, NightPlan
from flows.night.report import in_words, row
from flows.runtime.progress import Progress


def plan(found: NightPlan, as_json: bool) -> int:
    """What a night would do, image by image, and the exit status: 1 if an image would fail."""
    status = int("failed" in found.summary)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return status
    table = Table("IMAGE", "PLAN", "REASON", box=None, pad_edge=False)
    for each in found.images:
        table.add_row(each.image, each.action, each.reason)
    show(table)
    return status


def night(done: Night, progress: Progress, as_json: bool) -> int:
    """How a night ended, and the exit status: 1 if an image failed."""
    for record in done.builds:
        if record.status == "failed":
            progress.say(ending(record))
    table = Table("IMAGE", "STATUS", "SECONDS", "REASON", box=None, pad_edge=False)
    for image in done.images:
        table.add_row(*row(image))
    show(table, err=True)
    progress.say(f"night: {in_words(done.summary)}")
    if as_json:
        print_json(done.model_dump(mode="json"))
    return int("failed" in done.summary)
