"""The nightly flow: every recipe, one after the other; what is unchanged is skipped, what fails stops nothing else."""

from __future__ import annotations

from collections import Counter

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict

from flows.build import attempt
from flows.choice import Choice
from flows.publish.record import Record
from flows.session import current, session
from rootfs.errors import NightFailed
from rootfs.recipe import find


class Night(BaseModel):
    """What a night did: a record an image, and how many ended in which status."""

    model_config = ConfigDict(frozen=True)

    builds: tuple[Record, ...]
    summary: dict[str, int]


@flow(name="nightly", flow_run_name="nightly")
def nightly(only: tuple[str, ...] = ()) -> Night:
    """Build what has changed: every recipe, or those named in `only`.

    Raises NightFailed at the end when an image failed, so that the run counts as failed; it carries the Night.
    """
    with session():
        records = tuple(attempt(image, Choice()) for image in _images(only))
    done = Night(builds=records, summary=dict(Counter(record.status for record in records)))
    _table(done)
    if failed := [record.image for record in records if record.status == "failed"]:
        raise NightFailed(failed, done.model_dump_json())
    return done


def night(only: tuple[str, ...]) -> Night:
    """Run the flow here; the Night, whether or not an image failed."""
    try:
        return nightly(only)
    except NightFailed as failed:
        return Night.model_validate_json(failed.night)


def _images(only: tuple[str, ...]) -> list[str]:
    """The images of tonight by their files' names: one that cannot be read fails in its own turn, not the night."""
    folder = current().settings.recipes
    return [find(name, folder).stem for name in only] or sorted(path.stem for path in folder.glob("*.yaml"))


def _table(done: Night) -> None:
    rows = [
        {"image": record.image, "status": record.status, "build": record.build, "digest": record.manifest_digest}
        | {"seconds": round(sum(record.seconds.values()), 1), "reason": record.reason}
        for record in done.builds
    ]
    create_table_artifact(
        rows, key="nightly", description=", ".join(f"{n} {status}" for status, n in done.summary.items())
    )
