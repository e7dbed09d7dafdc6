"""Flows that cost little to start, and that are skipped where a newer run of their schedule does the work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from prefect.flows import Flow
from pydantic_core import to_jsonable_python

from flows.orchestration import missed_runs, outage
from flows.orchestration.log_masking import mask_logs

P = ParamSpec("P")
R = TypeVar("R")

mask_logs()  # also in processes that a worker starts


class LeanFlow(Flow[P, R]):
    """A flow whose parameters are plain values and models."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """As Prefect's own does, which loads a web framework for it: 0.15 s of every command."""
        return dict(to_jsonable_python(parameters))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - one for all overloads
        """Run the flow; what it returns counts also where Prefect's server is lost meanwhile."""
        return outage.survived(
            lambda: super(LeanFlow, self).__call__(*args, **kwargs), lambda: self.fn(*args, **kwargs)
        )


def flow(
    name: str, flow_run_name: str, *, clean_up: Iterable[Callable[..., None]] = ()
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow; `clean_up` runs after a cancel or a crash, perhaps in another process."""
    hooks: list[Any] = list(clean_up)

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        return LeanFlow(
            _unless_missed(outage.observed(function)),
            name=name,
            flow_run_name=flow_run_name,
            on_cancellation=hooks,
            on_crashed=hooks,
        )

    return decorate


def _unless_missed(function: Callable[P, R]) -> Callable[P, R]:
    """The function, but a scheduled run that was missed ends in the state that `missed.skipped` returns."""

    @functools.wraps(function)
    def unless_missed(*args: P.args, **kwargs: P.kwargs) -> R:
        if state := missed_runs.skipped():
            return cast(R, state)  # Prefect takes it for how the run ended; who calls a flow is never scheduled
        return function(*args, **kwargs)

    # Prefect would look for the names in its annotations in this module.
    unless_missed.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return unless_missed
