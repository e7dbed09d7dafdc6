"""A step of a flow: a Prefect task that is timed, shown, and tried again only where that can help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows import interrupt
from flows.session import current, timeline
from rootfs.errors import NetworkFailure

P = ParamSpec("P")
R = TypeVar("R")

TRIES = 3


def step(title: str, *, network: bool = False, last: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a step. `title` may name parameters, as in `pack {recipe.name}`; seconds go by its first word.

    A step of the network is tried three times when it ends in a NetworkFailure; no other failure gets better by
    repeating it. One of the `last` steps, which give back what was taken, runs even after an interrupt. Results are
    neither cached nor kept by Prefect: what is built is decided by digests alone.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            if not last:
                interrupt.heed()
            bound = inspect.signature(function).bind(*args, **kwargs)
            with current().progress.step(title.format(**bound.arguments), timeline()):
                return function(*args, **kwargs)

        made: Task[P, R] = task(
            name=title.split(maxsplit=1)[0],
            task_run_name=title,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=TRIES - 1 if network else 0,
            retry_delay_seconds=exponential_backoff(backoff_factor=1),
            retry_condition_fn=_can_help,
        )(timed)
        return made

    return decorate


def _can_help(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Prefect's question whether to run a failed step again."""
    return isinstance(state.result(raise_on_failure=False), NetworkFailure)
