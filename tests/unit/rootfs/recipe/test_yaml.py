"""The YAML reader reports every mistake with its place, for any file."""

from __future__ import annotations

import json
import re
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rootfs.errors import RecipeInvalid
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.recipe import digest_recipe, files_folder, read_recipe
from rootfs.recipe.scratch import ScratchRecipe
from rootfs.recipe.yaml import load_yaml

LINE = re.compile(r"(.*noble\.yaml:[1-9]\d*:[1-9]\d*: \S.*|… and \d+ more: .*)")


def check(data: bytes) -> None:
    """The file is a recipe, or each thing wrong with it has a place."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noble.yaml"
        path.write_bytes(data)
        try:
            recipe = read_recipe(path)
        except RecipeInvalid as error:
            for line in str(error).split("\n"):
                assert LINE.fullmatch(line), line
        else:
            assert re.fullmatch("sha256:[0-9a-f]{64}", digest_recipe(recipe, files_folder(path)))


def dumped(value: object) -> bytes:
    text = StringIO()
    YAML(typ="safe", pure=True).dump(value, text)
    return text.getvalue().encode(errors="surrogatepass")


keys = st.sampled_from(
    sorted(
        {key for kind in KINDS.values() for key in kind.model.model_fields}
        | {"from", "path", "run", "env", "cmd", "user"}
    )
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | keys
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)
known = st.fixed_dictionaries(
    {"kind": st.sampled_from([*KINDS, "x"])}, optional=dict.fromkeys(["suite", "files"], values)
)


@settings(max_examples=75, deadline=None)
@given(st.dictionaries(keys | st.text() | st.integers(), values, max_size=5))
def test_any_mapping(mapping: dict[Any, Any]) -> None:
    check(dumped(mapping))


@settings(max_examples=75, deadline=None)
@given(known, st.dictionaries(keys, values, max_size=5))
def test_any_recipe(start: dict[str, Any], rest: dict[str, Any]) -> None:
    check(dumped({**rest, **start}))


@settings(max_examples=75, deadline=None)
@given(st.text(alphabet="kind: scrath\n\t-[]{},&*!|>'\"%@`#?0x~.\\\0\ufeff\x85\u2028é", max_size=60))
def test_any_text(text: str) -> None:
    check(text.encode())


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    check(data)


words = st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True)
lines = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"), max_size=30
)


@settings(max_examples=50, deadline=None)
@given(suite=words, include=st.lists(words, unique=True), env=st.dictionaries(words, lines), cmd=st.lists(lines))
def test_written_yaml_is_read_back(suite: str, include: list[str], env: dict[str, str], cmd: list[str]) -> None:
    image = {"env": env, "cmd": cmd}
    text = json.dumps({"kind": "debootstrap", "suite": suite, "include": include, "image": image}, ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noble.yaml"
        path.write_text(text)  # JSON is YAML
        recipe = read_recipe(path)
    assert isinstance(recipe, DebootstrapRecipe)
    assert (recipe.suite, list(recipe.include)) == (suite, include)
    assert (recipe.image.env, list(recipe.image.cmd)) == (env, cmd)


def test_every_value_and_key_has_a_place(tmp_path: Path) -> None:
    path = tmp_path / "noble.yaml"
    path.write_text('a: 1\n"b":\n  - x\n  - {c: [y, z], d: }\ne:\nf: |\n  text\n')
    document = load_yaml(path)
    assert document.values == {"a": 1, "b": ("x", {"c": ("y", "z"), "d": None}), "e": None, "f": "text\n"}
    places = {loc: place.removeprefix(f"{path}:") for loc, place in document.places.items()}
    assert places == {
        (): "1:1",
        ("a",): "1:4",
        ("b",): "3:3",
        ("b", 0): "3:5",
        ("b", 1): "4:5",
        ("b", 1, "c"): "4:9",
        ("b", 1, "c", 0): "4:10",
        ("b", 1, "c", 1): "4:13",
        ("b", 1, "d"): "4:17",
        ("e",): "5:1",
        ("f",): "6:4",
    }
    assert document.key(("b", 1, "d")) == f"{path}:4:17"
    assert document.place(("b", 1, "absent")) == f"{path}:4:5"
    assert document.at(("b", 1, "c", 1)) == "z"
    assert document.at(("b", 7)) is document.at(("a", "x")) is None


def test_a_recipe_is_read_again_from_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "noble.yaml"
    path.write_text("kind: scratch\nfiles: [{path: /a, content: x}]\n")
    recipe = read_recipe(path)
    assert isinstance(recipe, ScratchRecipe)
    assert ScratchRecipe.model_validate_json(recipe.model_dump_json(by_alias=True, exclude_defaults=True)) == recipe
