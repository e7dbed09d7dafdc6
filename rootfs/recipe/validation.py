"""Translate pydantic's errors to sentences for the writer of a recipe, each with its place in the file."""

from __future__ import annotations

import functools
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rootfs.errors import nearest
from rootfs.recipe.yaml import Document, Loc

KEY = "[key]"  # pydantic's last step on the way to a key of a mapping

# Names that other kinds of recipes and other programs have for a key; the first that is known counts.
OTHER_NAMES = {
    "arch": ("platforms", "architectures"),
    "architecture": ("platforms", "architectures"),
    "base": ("from",),
    "codename": ("suite",),
    "command": ("cmd", "run"),
    "copy": ("files",),
    "customize": ("customise",),
    "dest": ("path",),
    "distribution": ("suite",),
    "environment": ("env",),
    "include": ("packages",),
    "install": ("include", "packages"),
    "key": ("keyring",),
    "layers": ("from",),
    "packages": ("include",),
    "parent": ("from",),
    "platform": ("platforms",),
    "ports": ("expose",),
    "release": ("suite",),
    "scripts": ("customise", "build"),
    "signed-by": ("keyring",),
    "signed_by": ("keyring",),
    "sources": ("repositories",),
    "suite": ("suites",),
    "test": ("smoke",),
    "tests": ("smoke",),
    "uris": ("uri",),
    "url": ("uri", "source"),
}
TYPE_WORDS = {
    "string": ("a string", "strings"),
    "integer": ("a whole number", "numbers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "true or false"),
    "object": ("a mapping", "mappings"),
    "array": ("a list", "lists"),
}


def describe_errors(error: ValidationError, document: Document, model: type[BaseModel]) -> list[tuple[str, str]]:
    """(file:line:column, sentence) for each thing that is wrong, in the order of the file."""
    schema = _schema_of(model)
    found = [_describe_error(detail, document, schema) for detail in error.errors(include_url=False)]
    return sorted(found, key=lambda each: [int(number) for number in each[0].rsplit(":", 2)[1:]])


@functools.cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema. Making it takes longer than all the rest."""
    return model.model_json_schema()


def _describe_error(detail: ErrorDetails, document: Document, schema: dict[str, Any]) -> tuple[str, str]:
    loc: Loc = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            known = [key for key in _schema_at(schema, loc[:-1])["properties"] if key != "name"]
            hint = _hint_for_key(str(loc[-1]), known, schema, loc[:-1])
            return document.key(loc), f"unknown key {loc[-1]!r}. {hint}"
        case "missing":
            return document.place(loc[:-1]), f"key {loc[-1]!r} is missing"
        case "value_error":
            sentence = str(detail["ctx"]["error"])
        case "literal_error" if isinstance(detail["input"], str):
            word, choices = detail["input"], _choices(_schema_at(schema, loc))
            sentence = f"{word!r} is not one of {', '.join(choices)}. {nearest(word, choices)}".rstrip()
        case kind if kind.endswith("_type") or kind == "literal_error":
            sentence = f"expected {_expected(_schema_at(schema, loc), schema)}, found {_found(detail['input'])}"
        case _:
            sentence = detail["msg"].replace("Input", "this", 1)
    return (document.key(loc[:-1]) if loc[-1:] == (KEY,) else document.place(loc)), sentence


def _hint_for_key(word: str, known: list[str], schema: dict[str, Any], at: Loc) -> str:
    """What to write instead of an unknown key: what another kind or program calls so, or the nearest known key."""
    if here := [key for key in OTHER_NAMES.get(word.lower(), ()) if key in known]:
        return f"Did you mean {here[0]!r}?"
    if "image" in known and word in _schema_at(schema, (*at, "image")).get("properties", {}):
        return "It belongs below 'image'."
    return nearest(word, known) or f"Known here: {', '.join(known)}."


def _schema_at(schema: dict[str, Any], loc: Loc) -> dict[str, Any]:
    """The part of a JSON Schema that speaks of the value there."""
    node = schema
    for step in loc:
        inner = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        named = node.get("patternProperties", {}).values()  # of a mapping with keys of the writer's choice
        node = _resolved(inner or next(iter(named), {}), schema)
    return node


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in node:  # `X | None`
        node = node["anyOf"][0]
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _choices(node: dict[str, Any]) -> list[str]:
    return list(node.get("enum") or [node["const"]])


def _expected(node: dict[str, Any], schema: dict[str, Any], *, many: bool = False) -> str:
    kinds = node.get("type", "string")
    if not many and ("enum" in node or "const" in node):
        return f"one of {', '.join(_choices(node))}"
    words = " or ".join(TYPE_WORDS[kind][many] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    return f"{words} of {_expected(_resolved(node['items'], schema), schema, many=True)}" if kinds == "array" else words


def _found(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case dict():
            return "a mapping"
        case _:
            return "a list"
