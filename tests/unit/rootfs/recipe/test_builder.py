"""The key `builder` of recipes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from rootfs.errors import RecipeInvalid
from rootfs.recipe import reference
from rootfs.recipe.builder import BuilderPlan, existing_builder
from rootfs.recipe.recipe import digest_recipe, read_recipe

DEBIAN = "kind: debootstrap\nsuite: trixie\n"
SCRATCH = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"
VALIDATOR = jsonschema.Draft202012Validator(reference.schema())

WHOLE = """builder:
  lifecycle: persistent
  name: big-one.2
  driver: kubernetes
  endpoint: my_context
  options: {image: "x:1", env.NO_PROXY: "a,b", requests.cpu: "2"}
  config: buildkitd.toml
  flags: [--debug]
  platforms: [linux/amd64, linux/arm/v7]
  timeout: 60
"""

GOOD = {
    "builder: big": existing_builder("big"),
    "builder: Big_1.x": existing_builder("Big_1.x"),
    "builder: {lifecycle: existing, name: big}": existing_builder("big"),
    "builder: {lifecycle: existing, name: big, timeout: 5}": BuilderPlan(lifecycle="existing", name="big", timeout=5),
    "builder: {lifecycle: persistent, name: big}": BuilderPlan(lifecycle="persistent", name="big"),
    "builder: {lifecycle: ephemeral}": BuilderPlan(lifecycle="ephemeral", driver="docker-container", timeout=300),
    "builder: {lifecycle: ephemeral, driver: remote, endpoint: 'tcp://b:1234'}": BuilderPlan(
        lifecycle="ephemeral", driver="remote", endpoint="tcp://b:1234"
    ),
    WHOLE: BuilderPlan(
        lifecycle="persistent",
        name="big-one.2",
        driver="kubernetes",
        endpoint="my_context",
        options={"image": "x:1", "env.NO_PROXY": "a,b", "requests.cpu": "2"},
        config="buildkitd.toml",
        flags=("--debug",),
        platforms=("linux/amd64", "linux/arm/v7"),
        timeout=60,
    ),
}

EXISTING = "{lifecycle: existing, name: a, "
EPHEMERAL = "{lifecycle: ephemeral, "

# Text after `builder: `, what is said of it, and whether the schema for editors sees it too.
BAD = [
    ("''", "10: a builder that is existing needs a 'name'", False),
    ("a b", "10: 'a b' is not a builder's name", False),
    ("-x", "10: '-x' is not a builder's name", False),
    ("5", "10: expected a mapping, found a number", True),
    ("true", "10: expected a mapping, found true", True),
    ("[big]", "10: expected a mapping, found a list", True),
    ("{}", "10: key 'lifecycle' is missing", True),
    ("{name: big}", "10: key 'lifecycle' is missing", True),
    ("{lifecycle: ephemerl}", "22: 'ephemerl' is not one of existing, persistent, ephemeral. Did you mean", True),
    ("{lifecycle: 5}", "22: expected one of existing, persistent, ephemeral, found a number", True),
    ("{lifecycle: existing}", "10: a builder that is existing needs a 'name'", False),
    ("{lifecycle: persistent}", "10: a builder that is persistent needs a 'name'", False),
    ("{lifecycle: persistent, name: ../x}", "40: '../x' is not a builder's name", True),
    (EPHEMERAL + "name: x}", "10: an ephemeral builder is named after the flow run: leave 'name' out", False),
    (EXISTING + "driver: remote}", "10: an existing builder is used as it is: say no more than its 'name'", False),
    (EXISTING + "options: {}}", "10: an existing builder is used as it is", False),
    (EPHEMERAL + "driver: docker}", "41: 'docker' is not one of docker-container, kubernetes, remote. Did you", True),
    (EPHEMERAL + "driver: remote}", "10: a remote builder needs an 'endpoint', such as tcp://", False),
    (EPHEMERAL + "option: {a: b}}", "33: unknown key 'option'. Did you mean 'options'?", True),
    (EPHEMERAL + "options: {a: [5]}}", "46: expected a string or a number or true or false, found a list", True),
    (EPHEMERAL + "options: {a b: x}}", "43: 'a b' is not a name of a driver's option", False),
    (EPHEMERAL + "options: [a]}", "42: expected a mapping, found a list", True),
    (EPHEMERAL + "config: 5}", "41: expected a string, found a number", True),
    (EPHEMERAL + "flags: --debug}", "40: expected a list of strings, found a string", True),
    (EPHEMERAL + "platforms: linux/amd64}", "44: expected a list of strings, found a string", True),
    (EPHEMERAL + "platforms: [amd64]}", "45: 'amd64' is not a platform: write linux/amd64 or linux/arm/v7", True),
    (EPHEMERAL + "timeout: 0}", "42: this should be greater than 0", True),
    (EPHEMERAL + "timeout: 3601}", "42: this should be less than or equal to 3600", True),
    (EPHEMERAL + "timeout: .nan}", "42: this should be a finite number", False),
    (EPHEMERAL + "timeout: '5'}", "42: expected a number, found a string", True),
    (EPHEMERAL + "timeout: true}", "42: expected a number, found true", True),
]


@pytest.mark.parametrize("kind", [DEBIAN, SCRATCH], ids=["debootstrap", "scratch"])
@pytest.mark.parametrize("text", GOOD)
def test_valid_builders_are_accepted(text: str, kind: str, tmp_path: Path) -> None:
    (path := tmp_path / "noble.yaml").write_text(f"{kind}{text}\n")
    assert read_recipe(path).builder == GOOD[text]
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(path.read_text()))


@pytest.mark.parametrize(("text", "said", "seen"), BAD)
def test_invalid_builders_are_refused(text: str, said: str, seen: bool, tmp_path: Path) -> None:
    (path := tmp_path / "noble.yaml").write_text(f"{DEBIAN}builder: {text}\n")
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}:3:{said}")
    assert len(str(caught.value).splitlines()) == 1
    assert VALIDATOR.is_valid(YAML(typ="safe", pure=True).load(path.read_text())) is not seen


@pytest.mark.parametrize("text", GOOD)
def test_a_builder_is_not_part_of_the_digest(text: str, tmp_path: Path) -> None:
    path = tmp_path / "noble.yaml"
    digests = set()
    for content in (DEBIAN, f"{DEBIAN}{text}\n"):
        path.write_text(content)
        digests.add(digest_recipe(read_recipe(path), tmp_path / "noble"))
    path.write_text(f"{DEBIAN}include: [curl]\n")
    assert len(digests) == 1
    assert digest_recipe(read_recipe(path), tmp_path / "noble") not in digests


def test_a_plan_does_not_change_and_is_the_same_as_text() -> None:
    plan = GOOD[WHOLE]
    with pytest.raises(ValidationError, match="frozen"):
        plan.name = "other"
    assert BuilderPlan.model_validate_json(plan.model_dump_json()) == plan
    assert json.loads(plan.model_dump_json())["platforms"] == ["linux/amd64", "linux/arm/v7"]
