"""JSON Schemas of what `--json` prints and of documents in a store: `python -m flows.cli.schemas deploy/schemas`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SUFFIX = ".schema.json"
DOCUMENTS = (
    "record",
    "newest",
    "failures",
    "night",
    "nights",
    "checked",
)  # of a store; all other schemas are of outputs


class _DocumentSchema(GenerateJsonSchema):
    """Keys that an earlier version did not write may be missing; no title repeats the name of its key."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's inner types
        return False


class _OutputSchema(_DocumentSchema):
    """Schemas of outputs: every key is always printed."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ANN401, ARG002 - pydantic's inner types
        return True


def types() -> dict[str, tuple[str, Any]]:
    """What each schema describes, and its type, by the schema's name. This imports what every command needs."""
    from flows.builders.listing import ListedBuilder
    from flows.builders.usage import AllUsage, Cleared
    from flows.cli.json_output import CheckedRecipe, CleanedRuns, Diagnosis, ListedImage, ShownBuild
    from flows.night.document import NewestNights, Night, NightDocument, NightPlan
    from flows.night.failures import Failures
    from flows.night.latency import Latency
    from flows.publish.checks import Checks
    from flows.publish.newest import Newest
    from flows.publish.record import Record
    from flows.publish.verification import Verification
    from rootfs.lock.lock import Lock

    return {
        "record": ("images/NAME/builds/BUILD-ID.json in a store: the record of a build", Record),
        "newest": ("images/NAME/newest.json in a store: which build `latest` is", Newest),
        "failures": ("images/NAME/failures.json in a store: how often an image failed with the same inputs", Failures),
        "night": ("nights/DATE.json in a store: what a night did", NightDocument),
        "nights": ("nights/newest.json in a store: the newest nights", NewestNights),
        "checked": ("nights/checked.json in a store: when images were checked, and what waits", Checks),
        "build": ("baseforge build --json, and baseforge import --json", list[Record]),
        "nightly": ("baseforge nightly --json", Night),
        "nightly-plan": ("baseforge nightly --dry-run --json", NightPlan),
        "list": ("baseforge list --json", list[ListedImage]),
        "show": ("baseforge show --json", ShownBuild),
        "validate": ("baseforge validate --json", list[CheckedRecipe]),
        "lock": ("baseforge lock --json: one lock, or for several platforms one each", Lock | dict[str, Lock]),
        "verify": ("baseforge verify --json", Verification),
        "latency": ("baseforge latency --json", Latency),
        "doctor": ("baseforge doctor --json", Diagnosis),
        "gc": ("baseforge gc --json", CleanedRuns),
        "builder-list": ("baseforge builder list --json", list[ListedBuilder]),
        "builder-inspect": ("baseforge builder inspect --json", ListedBuilder),
        "builder-du": ("baseforge builder du --json", AllUsage),
        "builder-prune": ("baseforge builder prune --json", Cleared),
    }


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of this name."""
    title, kind = types()[name]
    by_alias = name == "doctor"  # its settings have the key `from`, which is a word of Python
    generator = _DocumentSchema if name in DOCUMENTS else _OutputSchema
    made = TypeAdapter[Any](kind).json_schema(mode="serialization", by_alias=by_alias, schema_generator=generator)
    return {"$schema": DIALECT, **made, "title": title}


def texts() -> Iterator[tuple[str, str]]:
    """The files in deploy/schemas/: name and content."""
    for name in types():
        yield f"{name}{SUFFIX}", json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in texts():
        (Path(sys.argv[1]) / name).write_text(text)
