"""YAML as values and places: every key and every value knows its line and column.

This is YAML 1.2 without what a data file does not need: no anchors, no tags, no second document, no key twice. What is
wrong with the YAML itself is found here; what it means is for the models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from rootfs.errors import RecipeInvalid
from rootfs.recipe.types import AS_WRITTEN
from rootfs.system.source_tree import read_recipe_file

Loc = tuple[int | str, ...]  # the way from the top of a file to a value, as pydantic tells it

DEPTH = 20  # far more than a recipe has; deeper nesting would only exhaust the parser
TAG = "tag:yaml.org,2002:"
NUMBERS = frozenset(TAG + kind for kind in ("int", "float", "bool"))
NUMBERS_AND_SUCH = NUMBERS | {TAG + "null"}
TEXT = frozenset(TAG + kind for kind in ("str", "timestamp", "merge", "value"))  # the last three are text in YAML 1.2


@dataclass(frozen=True)
class Document:
    """One file: what it says, and where. Mappings are dicts, lists are tuples."""

    file: Path
    values: dict[str, Any]
    places: dict[Loc, str] = field(default_factory=dict)
    keys: dict[Loc, str] = field(default_factory=dict)

    def place(self, loc: Loc) -> str:
        """`file:line:column` of the value there, or of the nearest one around it."""
        while loc not in self.places:
            loc = loc[:-1]
        return self.places[loc]

    def key(self, loc: Loc) -> str:
        """`file:line:column` of the key there; where there is none, of the value."""
        return self.keys.get(loc) or self.place(loc)

    def at(self, loc: Loc) -> object:
        """The value there; None where there is none."""
        value: Any = self.values
        for step in loc:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def load_yaml(file: Path) -> Document:
    """Read one file that holds one mapping. Raises RecipeInvalid with the place of everything that is wrong.

    Numbers, `true` and `false` below a key of AS_WRITTEN are text, as they are written: 0644 stays 0644.
    """
    text = _text(file)
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = DEPTH
    yaml.composer.warn_double_anchors = False  # anchors are refused below
    try:
        top = yaml.compose(text)
    except ReaderError as error:
        raise RecipeInvalid([(_error_position(file, text[: error.position]), str(error).partition("\n")[0])]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeInvalid([(_mark_position(file, mark), f"this is not YAML: {error.problem}")]) from None
    if not isinstance(top, MappingNode):
        raise RecipeInvalid([(_mark_position(file, top and top.start_mark), "expected a mapping of keys and values")])
    return _Walk(file, yaml).document(top)


def _text(file: Path) -> str:
    data = read_recipe_file(file)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        good = data[: error.start].decode()
        raise RecipeInvalid([(_error_position(file, good), "the file is not UTF-8 text")]) from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            raise RecipeInvalid([(f"{file}:{number}:1", "a recipe is YAML 1.2 without directives: remove this line")])
    return text


def _error_position(file: Path, before: str) -> str:
    """The place just after this much of the file."""
    return f"{file}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _mark_position(file: Path, mark: StringMark | None) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{file}:1:1"


class _Walk:
    """One pass over the nodes of a file, which collects values, places and everything that is wrong."""

    def __init__(self, file: Path, yaml: YAML) -> None:
        self._file, self._yaml = file, yaml
        self._places: dict[Loc, str] = {}
        self._keys: dict[Loc, str] = {}
        self._wrong: list[tuple[str, str]] = []

    def document(self, top: MappingNode) -> Document:
        values = self._value(top, ())
        if self._wrong:
            raise RecipeInvalid(list(dict.fromkeys(self._wrong)))  # an alias shows one node twice
        return Document(self._file, values, self._places, self._keys)

    def _value(self, node: Node, loc: Loc) -> Any:  # noqa: ANN401 - whatever YAML can say
        empty = node.start_mark.index == node.end_mark.index  # `key:` and no more, which ends at the next line
        self._places[loc] = self._keys[loc] if empty and loc in self._keys else self._where(node)
        if node.anchor is not None:
            return self._refuse(node, "anchors and aliases are not used in recipes: write the value out")
        if isinstance(node, SequenceNode) and node.tag == TAG + "seq":
            return tuple(self._value(item, (*loc, index)) for index, item in enumerate(node.value))
        if isinstance(node, MappingNode) and node.tag == TAG + "map":
            return self._mapping(node, loc)
        if isinstance(node, ScalarNode) and (node.tag in TEXT or (node.tag in NUMBERS and AS_WRITTEN & set(loc))):
            return self._readable(node)
        if isinstance(node, ScalarNode) and node.tag in NUMBERS_AND_SUCH:
            return self._scalar(node)
        return self._refuse(node, f"tags are not used in recipes: remove {str(node.tag).replace(TAG, '!!')}")

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or key.tag not in TEXT or key.anchor is not None:
                self._refuse(key, "expected a key, which is text (put a number in quotes)")
                continue
            name = self._readable(key)
            if name in values:
                self._refuse(key, f"key {name!r} is there twice")
                continue
            self._keys[*loc, name] = self._where(key)
            values[name] = self._value(value, (*loc, name))
        return values

    def _readable(self, node: ScalarNode) -> str:
        """Text that programs and files can take: no NUL, no half of a surrogate pair."""
        text = str(node.value)
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            self._refuse(node, "this text has a character that no program can take")
        return text

    def _scalar(self, node: ScalarNode) -> Any:  # noqa: ANN401 - a number, a truth value or nothing
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            return self._refuse(node, "this is not a number that can be read")

    def _refuse(self, node: Node, why: str) -> None:
        self._wrong.append((self._where(node), why))

    def _where(self, node: Node) -> str:
        return _mark_position(self._file, node.start_mark)
