"""A step of a flow: a Prefect task that is timed, shown, and tried again only where that can help."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from flows.orchestration import lost_server
from flows.runtime import signals
from flows.runtime.context import current, timeline
from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import NetworkFailure

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

P = ParamSpec("P")
R = TypeVar("R")

TRIES = 3


class Step(Generic[P, R]):
    """A function that runs as a task whenever it is called; `fn` is what the task does, without Prefect."""

    def __init__(self, function: Callable[P, R], title: str, *, network: bool, last: bool) -> None:
        self._function, self._title, self._last = function, title, last
        self._tries = TRIES if network else 1
        functools.update_wrapper(self, function)

    @functools.cached_property
    def _task(self) -> Callable[[str, Callable[[], R], bool], R]:
        """The Prefect task. Prefect is imported when the first one runs: what runs `alone` does not wait for that.

        The function's arguments stay hidden in a closure: Prefect would search every package of a lock for results of
        other tasks, several times a step.
        """
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.tasks import exponential_backoff

        return task(
            name=self._title.split(maxsplit=1)[0],
            task_run_name="{title}",
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=self._tries - 1,
            retry_delay_seconds=exponential_backoff(backoff_factor=1),
            retry_condition_fn=_can_help,
        )(_timed)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task; where Prefect's server is lost, do without."""
        return self.alone(*args, **kwargs) if lost_server.reason() else self._task(*self._named(*args, **kwargs))

    def alone(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The step without Prefect, tried as often as its task would be."""
        for seconds in range(1, self._tries):
            try:
                return self.fn(*args, **kwargs)
            except NetworkFailure as failure:
                if isinstance(failure, ArchiveMoved):
                    raise
            time.sleep(seconds)
        return self.fn(*args, **kwargs)

    def fn(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The step without Prefect, timed and shown all the same."""
        return _timed(*self._named(*args, **kwargs))

    def _named(self, *args: P.args, **kwargs: P.kwargs) -> tuple[str, Callable[[], R], bool]:
        bound = inspect.signature(self._function).bind(*args, **kwargs)
        return self._title.format(**bound.arguments), lambda: self._function(*args, **kwargs), self._last


def _timed(title: str, work: Callable[[], R], last: bool) -> R:
    if not last:
        signals.heed()
    with current().progress.step(title, timeline()):
        return work()


def step(title: str, *, network: bool = False, last: bool = False) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step. `title` may name parameters, as in `pack {recipe.name}`; seconds go by its first word.

    A step of the network is tried three times when it ends in a NetworkFailure; no other failure gets better by
    repeating it. One of the `last` steps, which give back what was taken, runs even after an interrupt. Results are
    neither cached nor kept by Prefect: what is built is decided by digests alone.
    """
    return lambda function: Step(function, title, network=network, last=last)


def _can_help(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Prefect's question whether to run a failed step again; an archive that has moved on is asked anew instead."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, NetworkFailure) and not isinstance(failure, ArchiveMoved)
