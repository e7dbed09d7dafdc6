"""The recipes of the shelf, their schema and their reference."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from rootfs.recipe import recipe, reference
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import files_folder, read_recipe, read_recipes
from rootfs.recipe.scratch import ScratchRecipe

SHELF = Path(__file__).parents[4] / "recipes"
FILES = sorted(SHELF.glob("*.yaml"))
SCHEMA = SHELF / "recipe.schema.json"
DEBIAN = ("noble", "jammy", "trixie", "trixie-slim", "bookworm", "bookworm-slim")
RUNTIMES = ("static", "base", "cc", "busybox", "python3", "node", "java")
VALIDATOR = jsonschema.Draft202012Validator(reference.schema())


def plain(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


def test_the_shelf_has_what_it_should():
    assert {"hello", *DEBIAN, *RUNTIMES} <= {each.name for each in read_recipes(SHELF)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_recipe_is_an_example(path):
    found = read_recipe(path)
    assert found.description
    of_its_parent = isinstance(found, LayerRecipe)
    assert found.image.cmd or found.image.entrypoint or of_its_parent or all(each.brings for each in found.smoke)
    assert found.smoke, "an image is published because something was seen to work"
    assert path.read_text().startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    assert found == type(found).model_validate({**plain_tuples(path), "name": path.stem})


def plain_tuples(path: Path) -> dict[str, object]:
    """An independent reading of the same file."""

    def convert(value: object) -> object:
        if isinstance(value, dict):
            return {key: convert(inner) for key, inner in value.items()}
        return tuple(map(convert, value)) if isinstance(value, list) else value

    made = convert(plain(path.read_text()))
    assert isinstance(made, dict)
    return made


@pytest.mark.parametrize("name", ["trixie", "bookworm"])
def test_a_slim_recipe_differs_only_in_slim(name):
    whole, slim = read_recipe(SHELF / f"{name}.yaml"), read_recipe(SHELF / f"{name}-slim.yaml")
    assert isinstance(whole, DebootstrapRecipe)
    assert slim == whole.model_copy(
        update={"name": f"{name}-slim", "description": slim.description, "slim": ("docs", "man", "locales")}
    )


def test_each_folder_belongs_to_a_scratch_recipe_or_has_recipes_of_its_own():
    owners = {files_folder(path).name for path in FILES if isinstance(read_recipe(path), ScratchRecipe)}
    others = [path for path in SHELF.iterdir() if path.is_dir() and path.name not in owners]
    assert [path.name for path in others] == ["buildkit"]
    assert [each.name for each in read_recipes(SHELF / "buildkit")] == ["buildkit"]


def test_the_schema_is_the_models():
    assert SCHEMA.read_text() == reference.schema_text(), "python -m rootfs.recipe.reference"
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_the_reference_is_the_models():
    page = (SHELF / "README.md").read_text()
    assert page.partition(reference.GENERATED)[2] == reference.reference_text(), "python -m rootfs.recipe.reference"


def test_the_reference_has_every_image_of_the_shelf_as_it_was_measured():
    rows = [line.split(" | ") for line in reference.reference_text().splitlines() if line.startswith("| [")]
    assert [row[0] for row in rows] == [f"| [{each.name}]({each.name}.yaml)" for each in read_recipes(SHELF)]
    assert all(row[3].isdigit() and row[4][0].isdigit() for row in rows)
    assert json.loads((SHELF / "comparable.json").read_text())["images"].keys() <= {path.stem for path in FILES}


def test_the_reference_has_every_key_of_every_kind():
    common, *others = reference.reference_text().split("\n## ")[2:]
    sections = {section.partition("\n")[0]: section for section in others}
    for name, kind in KINDS.items():
        for key in {each.alias or field for field, each in kind.model.model_fields.items()} - {"name"}:
            assert any(f"\n| `{key}` |" in section for section in (common, sections[f"kind: {name}"])), key
    for part in reference.schema()["$defs"].keys() - {kind.model.__name__ for kind in KINDS.values()}:
        assert part in sections


def test_every_key_is_explained():
    for name, model in reference.schema()["$defs"].items():
        for key, value in model["properties"].items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_shelf_matches_the_schema(path):
    VALIDATOR.validate(plain(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "kind: debootstrap",
        "{kind: debootstrap, suite: trixie, sweet: x}",
        "{kind: debootstrap, suite: trixie, name: x}",
        "{kind: debootstrap, suite: trixie, tools: []}",
        "{kind: debootstrap, suite: trixie, variant: huge}",
        "{kind: debootstrap, suite: trixie, include: curl}",
        "{kind: debootstrap, suite: trixie, image: {cmd: bash}}",
        "{kind: debootstrap, suite: trixie, smoke: [{}]}",
        "{kind: scratch, packages: [a, a]}",
        "{kind: other}",
    ],
)
def test_the_schema_and_the_reader_refuse_the_same(text, tmp_path):
    assert not VALIDATOR.is_valid(plain(text))
    path = tmp_path / "noble.yaml"
    path.write_text(text)
    with pytest.raises(recipe.RecipeInvalid):
        read_recipe(path)
