"""Go on without Prefect's server when it stops answering; report one that does not answer before work begins.

A run needs the server only to be shown: what it makes is in the store. If the server is lost, its pages do not show how
the run ended, and nothing else is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import Abort

from flows.orchestration import lost_server
from flows.orchestration.errors import not_a_prefect_server
from rootfs.errors import MachineError

R = TypeVar("R")

ANSWER = 5.0  # seconds in which a server answers before work begins
PATIENCE = 6.0  # seconds in which a server that stopped answering may come back, as after a restart
PAUSE = 0.5  # seconds between two questions
AT_ONCE = 2.0  # seconds for one question, while a user waits for the end of an interrupted run


@dataclass
class FlowOutcome(Generic[R]):
    """How the function of a flow ended, independent of what Prefect reports."""

    value: R | None = None
    error: BaseException | None = None
    ended: bool = False

    def result(self) -> R:
        """What the function returned. Raises what it raised."""
        if self.error:
            raise self.error
        return cast(R, self.value)


def server_answers(patience: float = PATIENCE) -> bool:
    """Whether the server answers, within so many seconds. One that does not is lost for the rest of this process."""
    until = time.monotonic() + patience
    while not lost_server.reason():
        try:
            _ask(max(until - time.monotonic(), PAUSE))
        except httpx.TransportError as error:
            if time.monotonic() + PAUSE > until:
                lost_server.mark(_first_line(error))
            time.sleep(PAUSE)
        except (httpx.HTTPError, ValueError):
            return True  # Prefect's own client reports what is wrong
        else:
            return True
    return False


def show_table(rows: list[dict[str, Any]], key: str) -> None:
    """A table in Prefect's pages; nothing where the server is lost."""
    if server_answers():
        with contextlib.suppress(httpx.HTTPError):
            create_table_artifact(rows, key=key)


def show_markdown(text: str, key: str) -> None:
    """A page of Markdown in Prefect's pages; nothing where the server is lost."""
    if server_answers():
        with contextlib.suppress(httpx.HTTPError):
            create_markdown_artifact(text, key=key)


def require_server(address: str) -> None:
    """Check that a Prefect server at this address accepts our credentials, before any work begins.

    Raises MachineError.
    """
    try:
        _ask(ANSWER)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise MachineError(
                f"the Prefect server denies access (HTTP status {error.response.status_code})",
                where=address,
                hint="Set PREFECT_API_AUTH_STRING to the server's USER:PASSWORD, or PREFECT_API_KEY for Prefect Cloud.",
            ) from None
        raise not_a_prefect_server(address, f"it answers with HTTP status {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise MachineError(
            f"the Prefect server does not answer: {_first_line(error)}",
            where=address,
            hint="Check PREFECT_API_URL, and that the server runs. Without PREFECT_API_URL a local one is started.",
        ) from None
    except (httpx.InvalidURL, ValueError):
        raise not_a_prefect_server(address, "its answer is not one of Prefect's API") from None


def _ask(timeout: float) -> None:
    """One question that needs credentials, asked once. Raises what Prefect's client raises."""
    now = get_settings_context()
    once = now.settings.client.model_copy(update={"max_retries": 0})
    settings = now.settings.model_copy(update={"client": once})
    with (
        SettingsContext(profile=now.profile, settings=settings),
        get_client(httpx_settings={"timeout": timeout}, sync_client=True) as client,
    ):
        client.read_flows(limit=1)


def _cannot_write(error: Exception) -> bool:
    """Whether the server answered that it could not do what it was asked."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def record_outcome(outcome: FlowOutcome[R], work: Callable[[], R]) -> R:
    """Do the work of a flow and note how it ended; where the server is lost, end the flow run without telling it."""
    try:
        outcome.value = work()
    except BaseException as error:
        outcome.error = error
    outcome.ended = True
    if not server_answers(PATIENCE if isinstance(outcome.error, Exception | None) else AT_ONCE):
        raise Abort("the server is lost")
    return outcome.result()


def run_despite_outage(outcome: FlowOutcome[R], run: Callable[[], R], without_prefect: Callable[[], R]) -> R:
    """Run a flow by `run`; if the server is lost, its result still counts. If not begun, run `without_prefect`.

    So it is if the server answers but cannot write: SQLite refuses a write beside another one, and a busy server has
    many. Prefect's client tries for a minute; such a run is not in the server's pages.
    """
    if not lost_server.reason():
        try:
            return run()
        except Abort:
            if not lost_server.reason():
                raise
        except Exception as error:
            if error is outcome.error:
                raise
            if not _cannot_write(error):
                if server_answers() and not (outcome.ended and isinstance(error, httpx.HTTPError)):
                    raise
                if not lost_server.reason():
                    lost_server.mark(_first_line(error))
    return outcome.result() if outcome.ended else without_prefect()
