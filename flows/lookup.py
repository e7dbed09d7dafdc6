"""Look up which images are unchanged, before any work begins and before Prefect is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from flows import published_names
from flows.config.options import Choice
from flows.config.paths import known_error
from flows.inputs.resolve import Meant
from flows.orchestration.log_masking import masked_traceback
from flows.publish.record import Record
from flows.published_names import Existing
from flows.runtime import signals
from flows.runtime.context import current, current_run, new_run
from flows.tasks import resolve
from rootfs.errors import BaseforgeError, BuildError
from rootfs.system.errors import DiskFull


def look_up(image: str, choice: Choice, *, shown: bool = False) -> tuple[Meant, Existing | None]:
    """The image's inputs, and the existing build with the same inputs if it need not be built; asked once a run.

    Network failures are tried again. Prefect's pages have tasks for the look-up only if it is `shown`.
    """
    known = current_run().meant
    if image not in known:
        wanted = resolve(image, choice) if shown else resolve.alone(image, choice)
        look = published_names.already_built if shown else published_names.already_built.alone
        known[image] = wanted, None if choice.forces(image) else look(wanted, choice)
    return known[image]


def unchanged(image: str, choice: Choice) -> Record | None:
    """The record of an unchanged image to which all names point; None if there is something to do."""
    existing = look_up(image, choice)[1]
    return existing.record if existing and not existing.reasons else None


def failed(image: str, error: Exception) -> Record:
    """The record of a build that failed, which is not stored. The error goes to the log of the build that is running.

    Raises KeyboardInterrupt if the error is the consequence of an interrupt.
    """
    if signals.came():
        raise KeyboardInterrupt from error
    run = current_run()
    problem = error if isinstance(error, BaseforgeError) else known_error(error)
    with contextlib.suppress(DiskFull):  # of the log; the error that ended the build is the one to tell
        run.log(str(problem) if problem else masked_traceback(error))
    problem = problem or BuildError(
        f"a bug: {type(error).__name__}: {error}", hint=f"`baseforge log {image}` has the traceback. Please report it."
    )
    return Record(
        image=image,
        build=run.build,
        status="failed",
        reason=str(problem),
        exit_status=problem.status,
        seconds=run.timeline.seconds,
    )


def build_changed(images: Iterable[str], choice: Choice, build: Callable[[], object]) -> None:
    """Look the images up in order, base images first, and call `build` at the first one that has to be built.

    The session then has the records of the images before it. `build` sees to all others; it finds the run of the first
    one in force, with its log and what was looked up.
    """
    here = current()
    for image in images:
        with new_run(image):
            try:
                found = unchanged(image, choice)
            except Exception as error:  # one image must not cost the others their turn
                found = failed(image, error)
            if found is None:
                build()
                return
            here.done[image] = found
