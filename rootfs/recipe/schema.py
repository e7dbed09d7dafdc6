"""The JSON Schema of recipes, for editors: `python -m rootfs.recipe.schema > recipes/recipe.schema.json`."""

from __future__ import annotations

import json
import sys
from typing import Any, Union

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from rootfs.recipe.kinds import KINDS


class _Plain(GenerateJsonSchema):
    """Without a title for each key that only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's inner types
        return False


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe's file; `name` is not in it, as it is the file's name."""
    models = tuple(kind.model for kind in KINDS.values())
    union: Any = Union[models]  # noqa: UP007 - the models are only known when the module runs
    made = TypeAdapter[Any](union).json_schema(schema_generator=_Plain)
    for each in models:
        model = made["$defs"][each.__name__]
        del model["properties"]["name"]
        model["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Recipe", **made}


def text() -> str:
    """The schema as it is checked in."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
