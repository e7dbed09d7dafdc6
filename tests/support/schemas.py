"""What `--json` prints, checked against the schemas in deploy/schemas."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).parents[2] / "deploy/schemas"


def schema_name(words: Sequence[str]) -> str:
    """The schema of what a command prints, by the words of its command line."""
    if words[0] == "builder":
        return f"builder-{words[1]}"
    if words[0] == "nightly" and "--dry-run" in words:
        return "nightly-plan"
    return "build" if words[0] == "import" else words[0]


def validate(name: str, value: object) -> None:
    """Raises ValidationError, also where the value has a key that the schema does not name."""
    _validator(name).validate(value)


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(_strict(schema))


def _strict(schema: Any) -> Any:
    """The schema, but no object has keys that it does not name."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **made} if isinstance(schema.get("properties"), dict) else made
