"""Remove what runs have left behind on this machine, and finish what they have published. Needs no Prefect server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.published_names import finish_names, images_to_finish
from flows.runtime.context import Context
from flows.runtime.leftovers import remove_leftovers, runs_with_leftovers
from flows.runtime.workdir import is_running
from rootfs.errors import BaseforgeError

LONGEST = timedelta(days=1)  # no run takes longer
CONTINUABLE = timedelta(days=7)  # in this time an interrupted download may be continued


def clean_up(ctx: Context, has_ended: Callable[[str], bool]) -> list[str]:
    """Remove builders, containers and work folders of runs that have ended, once a command; returns the runs' ids.

    A run of this machine has ended when nobody holds its lock. Another one that shares the engine has when `has_ended`
    knows so, or when its newest trace is a day old.
    """
    return ctx.opened.get("clean-up", lambda: _clean_up(ctx, has_ended))


def _clean_up(ctx: Context, has_ended: Callable[[str], bool]) -> list[str]:
    places = ctx.settings.places
    swept = remove_leftovers(places)
    ended = [
        run
        for run, since in runs_with_leftovers(ctx.engine()).items()
        if not is_running(places, run) and (datetime.now(UTC) - since > LONGEST or has_ended(run))
    ]
    if ended:
        remove_leftovers(places, *ended)
    remove_old_downloads(ctx.cache / "partial")
    ctx.store.sweep()
    _finish_names(ctx)
    return sorted({*swept, *ended})


def _finish_names(ctx: Context) -> None:
    """Finish the names of each image, even if one fails. Raises the first failure."""
    failed: list[BaseforgeError] = []
    for image in images_to_finish(ctx):
        try:
            if build := finish_names.without_prefect(ctx, image):
                ctx.progress.say(f"{image}: names moved to build {build}, which an interrupted run had published")
        except BaseforgeError as problem:
            ctx.progress.say(f"{image}: names not moved: {problem}")
            failed.append(problem)
    if failed:
        raise failed[0]


def remove_old_downloads(folder: Path) -> None:
    """Remove partial downloads that nobody continues. Their mtime is the archive's, so their ctime counts."""
    for path in (*folder.glob("*.partial"), *folder.glob("*.download")):  # of debs, of tarballs
        with contextlib.suppress(FileNotFoundError):  # another run has completed it
            if datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_ctime, UTC) > CONTINUABLE:
                path.unlink()
