"""A step of a flow: a Prefect task that is timed, shown, and tried again only where that can help."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from flows.orchestration import lost_server
from flows.runtime import signals
from flows.runtime.context import Context
from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import NetworkFailure

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

C = TypeVar("C", bound=Context)
P = ParamSpec("P")
R = TypeVar("R")

TRIES = 3


class Step(Generic[C, P, R]):
    """A function that runs as a task whenever it is called with a context and its other arguments."""

    def __init__(self, function: Callable[Concatenate[C, P], R], title: str, *, network: bool, last: bool) -> None:
        self._function, self._title, self._last = function, title, last
        self._tries = TRIES if network else 1
        functools.update_wrapper(self, function)

    @functools.cached_property
    def _task(self) -> Callable[[str, Callable[[], R]], R]:
        """The Prefect task. Prefect is imported when the first one runs: `without_prefect` does not need it.

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
        )(_run)

    def __call__(self, ctx: C, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task; where Prefect's server is lost, do without."""
        if lost_server.reason():
            return self.without_prefect(ctx, *args, **kwargs)
        return self._task(*self._titled(ctx, *args, **kwargs))

    def without_prefect(self, ctx: C, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step without Prefect, tried as often as its task would be."""
        for seconds in range(1, self._tries):
            try:
                return self.fn(ctx, *args, **kwargs)
            except NetworkFailure as failure:
                if isinstance(failure, ArchiveMoved):
                    raise
            time.sleep(seconds)
        return self.fn(ctx, *args, **kwargs)

    def fn(self, ctx: C, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step once without Prefect, timed and shown all the same."""
        return _run(*self._titled(ctx, *args, **kwargs))

    def _titled(self, ctx: C, *args: P.args, **kwargs: P.kwargs) -> tuple[str, Callable[[], R]]:
        bound = inspect.signature(self._function).bind(ctx, *args, **kwargs)
        title = self._title.format(**bound.arguments)

        def work() -> R:
            if not self._last:
                signals.raise_if_interrupted()
            with ctx.progress.step(title, ctx.timeline):
                return self._function(ctx, *args, **kwargs)

        return title, work


def _run(title: str, work: Callable[[], R]) -> R:  # noqa: ARG001 - the name of the task's run
    return work()


def step(
    title: str, *, network: bool = False, last: bool = False
) -> Callable[[Callable[Concatenate[C, P], R]], Step[C, P, R]]:
    """Make a function, whose first parameter is a context, a step. `title` may name its parameters: `join {ctx.image}`.

    The seconds are counted under the title's first word. A step of the network is tried three times when it ends in a
    NetworkFailure; no other failure gets better by repeating it. A `last` step, which releases something, runs
    even after an interrupt. Prefect neither caches nor stores results: digests alone decide what is built.
    """
    return lambda function: Step(function, title, network=network, last=last)


def _can_help(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Whether Prefect runs a failed step again. After ArchiveMoved it does not: the build resolves anew."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, NetworkFailure) and not isinstance(failure, ArchiveMoved)
