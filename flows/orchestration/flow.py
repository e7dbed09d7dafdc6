"""Flows that get a context, cost little to start, and are skipped where a newer run of their schedule does the work."""

from __future__ import annotations

import copy
import functools
import inspect
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from prefect.flows import Flow
from prefect.runtime import flow_run as this_run
from pydantic_core import to_jsonable_python

from flows.orchestration import missed_runs, outage
from flows.orchestration.log_masking import mask_logs
from flows.orchestration.outage import FlowOutcome
from flows.runtime.context import Context, open_context

P = ParamSpec("P")
R = TypeVar("R")

mask_logs()  # also in processes that a worker starts


class ContextFlow(Flow[P, R]):
    """A flow whose function gets a context first; its parameters are the others, plain values and models.

    Called by Prefect it opens a context of its own.
    """

    def __init__(self, function: Callable[Concatenate[Context, P], R], **settings: Any) -> None:  # noqa: ANN401
        self._function = function
        super().__init__(self._in_context(None, FlowOutcome()), **settings)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """As Prefect's own does, which loads a web framework for it: 0.15 s of every command."""
        return dict(to_jsonable_python(parameters))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - one for all overloads
        """Run the flow in a context of its own."""
        with open_context() as ctx:
            return self.run_in(ctx, *args, **kwargs)

    def run_in(self, ctx: Context, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow in a context that is open; what it returns counts also where Prefect's server is lost."""
        outcome: FlowOutcome[R] = FlowOutcome()
        bound = copy.copy(self)
        bound.fn = self._in_context(ctx, outcome)
        return outage.run_despite_outage(
            outcome,
            lambda: super(ContextFlow, bound).__call__(*args, **kwargs),
            lambda: self._function(replace(ctx, run_id=str(uuid.uuid4())), *args, **kwargs),
        )

    def _in_context(self, ctx: Context | None, outcome: FlowOutcome[R]) -> Callable[P, R]:
        """The function as Prefect sees and calls it: without a context among its parameters."""

        @functools.wraps(self._function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            if state := missed_runs.skipped_state():
                return cast(R, state)  # Prefect takes it as the state of the run, and only scheduled runs are skipped
            if ctx is None:
                with open_context() as opened:
                    return self._function(replace(opened, run_id=str(this_run.id)), *args, **kwargs)
            here = replace(ctx, run_id=str(this_run.id))
            return outage.record_outcome(outcome, lambda: self._function(here, *args, **kwargs))

        # Prefect would look for the names in the function's annotations in this module.
        signature = inspect.signature(self._function, eval_str=True)
        parameters = list(signature.parameters.values())[1:]
        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return called


def flow(
    name: str, flow_run_name: str, *, clean_up: Iterable[Callable[..., None]] = ()
) -> Callable[[Callable[Concatenate[Context, P], R]], ContextFlow[P, R]]:
    """Make a function, whose first parameter is a context, a flow.

    `clean_up` runs after a cancel or a crash, perhaps in another process.
    """
    hooks: list[Any] = list(clean_up)
    return lambda function: ContextFlow(
        function, name=name, flow_run_name=flow_run_name, on_cancellation=hooks, on_crashed=hooks
    )
