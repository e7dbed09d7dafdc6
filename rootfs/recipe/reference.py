"""Generate the JSON Schema of recipes, for editors, and the reference in recipes/README.md, for people.

`python -m rootfs.recipe.reference` writes recipes/recipe.schema.json and replaces all that follows the line GENERATED
in recipes/README.md; the guide before it is written by hand. Both come from the models of the kinds, the sizes from
`recipes/figures.json` (made by `flows/cli/shelf_figures.py`): a new recipe or a new kind needs no change here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from rootfs.recipe.base import Recipe
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.recipe import read_recipes
from rootfs.system.text import format_size

GENERATED = "<!-- All that follows is generated from the recipes and the models. -->\n"
INTRODUCTION = """
## The shelf

Compressed sizes for amd64, with the archives' state of {date} or before. The last column has the published size of a
well-known image of the same kind; `comparable.json` names the sources.

| image | kind | what it is for | packages | size | for comparison |
| --- | --- | --- | ---: | ---: | --- |
{rows}
"""
SHELF = Path(__file__).parents[2] / "recipes"
NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}


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


def schema_text() -> str:
    """The schema as it is checked in."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def reference_text() -> str:
    """The generated part of the page."""
    measured = json.loads((SHELF / "figures.json").read_text())
    beside = json.loads((SHELF / "comparable.json").read_text())["images"]
    rows = [_image(recipe, measured.get(recipe.name), beside.get(recipe.name)) for recipe in read_recipes(SHELF)]
    date = max(each["date"] for each in measured.values())
    shelf = INTRODUCTION.format(date=date, rows="\n".join(rows))
    return shelf + "".join(f"\n{section}" for section in _sections())


def _image(recipe: Recipe, measured: dict[str, Any] | None, beside: dict[str, Any] | None) -> str:
    packages, weight = (str(measured["packages"]), format_size(measured["size"])) if measured else ("", "")
    other = f"{beside['image']}: {format_size(beside['size'])}" if beside else ""
    cells = (f"[{recipe.name}]({recipe.name}.yaml)", recipe.kind, recipe.description, packages, weight, other)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _sections() -> Iterator[str]:
    """The keys that all kinds have alike, then each kind's own, then the parts that keys are made of."""
    models = schema()["$defs"]
    kinds = {name: models.pop(kind.model.__name__) for name, kind in KINDS.items()}
    rows = {name: _rows(kind) for name, kind in kinds.items()}
    everywhere = [row for row in next(iter(rows.values())) if all(row in each for each in rows.values())]
    yield _section("Keys of every recipe", "", everywhere)
    for name, kind in kinds.items():
        yield _section(f"kind: {name}", kind["description"], [row for row in rows[name] if row not in everywhere])
    for name, model in sorted(models.items()):
        yield _section(name, model["description"], _rows(model))


def _section(title: str, meaning: str, rows: list[str]) -> str:
    table = ["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"## {title}", "", *([meaning, ""] if meaning else []), *table]) + "\n"


def _rows(model: dict[str, Any]) -> list[str]:
    needed = model.get("required", ())
    return [_row(key, entry, key in needed) for key, entry in model["properties"].items()]


def _row(key: str, entry: dict[str, Any], needed: bool) -> str:
    default = "needed" if needed else _default(entry.get("default"))
    cells = (f"`{key}`", _value(entry), default, entry["description"])
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _default(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _value(entry: dict[str, Any]) -> str:
    """What may stand there."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in entry:
        return " or ".join(_value(each) for each in entry["anyOf"] if each.get("type") != "null")
    if "const" in entry or "enum" in entry:
        return ", ".join(f"`{_plain(each)}`" for each in entry.get("enum", [entry.get("const")]))
    return _of_type(entry)


def _plain(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value)


def _of_type(entry: dict[str, Any]) -> str:
    if isinstance(entry["type"], list):
        return " or ".join(NAMES[each] for each in entry["type"])
    if entry["type"] == "array":
        return f"list of {_value(entry['items'])}"
    if entry["type"] == "object":
        return "names, each with a text"
    return NAMES[entry["type"]]


def write() -> None:
    """Write the schema, and replace the generated part of the page."""
    (SHELF / "recipe.schema.json").write_text(schema_text())
    page = SHELF / "README.md"
    guide = page.read_text().partition(GENERATED)[0]
    page.write_text(guide + GENERATED + reference_text())


if __name__ == "__main__":
    write()
