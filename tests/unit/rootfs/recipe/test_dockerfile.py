"""Dockerfile recipes: valid and invalid keys, and base images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootfs.errors import RecipeInvalid
from rootfs.recipe.base_images import base_images_first
from rootfs.recipe.dockerfile import DockerfileRecipe
from rootfs.recipe.recipe import digest_recipe, files_folder, read_recipe, read_recipes
from rootfs.system.source_tree import copy_normalized


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str = "", dockerfile: str = "FROM scratch\n", name: str = "own") -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "Dockerfile").write_text(dockerfile)
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"kind: dockerfile\n{text}\n")
        return path

    return write


def test_a_short_recipe_has_every_default(write):
    recipe = read_recipe(write())
    assert isinstance(recipe, DockerfileRecipe)
    assert (recipe.dockerfile, recipe.target, recipe.layers, recipe.online) == ("Dockerfile", None, "shared", False)
    assert (recipe.no_because, recipe.args, recipe.contexts, recipe.secrets, recipe.ssh) == ("", {}, {}, (), ())


ONLINE = "network: default\n"
GOOD = {
    "target: last-one": ("target", "last-one"),
    "args: {A: b, _C: ''}": ("args", {"A": "b", "_C": ""}),
    "contexts: {base: trixie-slim}": ("contexts", {"base": "trixie-slim"}),
    "layers: kept": ("layers", "kept"),
    "layers: one": ("layers", "one"),
    "secrets: [token, key.pem]": ("secrets", ("token", "key.pem")),
    "ssh: [default]": ("ssh", ("default",)),
    "repeatable: true": ("no_because", ""),
    "repeatable: {no_because: it asks the clock}": ("no_because", "it asks the clock"),
    f"{ONLINE}repeatable: true": ("online", True),
    f"{ONLINE}repeatable: {{no_because: the mirror moves}}": ("online", True),
}


@pytest.mark.parametrize("text", GOOD)
def test_valid_recipes_are_accepted(write, text):
    key, value = GOOD[text]
    write(name="trixie-slim")
    assert getattr(read_recipe(write(text)), key) == value


BAD = {
    "dockerfile: other": "2:13: there is no file",
    "dockerfile: ../Dockerfile": "2:13: '../Dockerfile' leads out of the recipe's folder",
    "target: Last One": "2:9: 'Last One' is not a stage's name",
    "args: {1A: b}": "2:8: '1A' is not a name of an environment variable",
    "args: {A: }": "2:8: expected a string or a number or true or false, found nothing",
    "contexts: {'a=b': trixie}": "2:12: 'a=b' is not a stage's name",
    "contexts: {base: ../trixie}": "2:18: '../trixie' is not a name",
    "layers: many": "2:9: 'many' is not one of shared, one, kept.",
    "secrets: ['a,src=/etc/shadow']": "2:11: 'a,src=/etc/shadow' is not an id of a secret",
    "secrets: [a, a]": "2:10: 'a' is there twice",
    "secrets: {a: b}": "2:10: expected a list of strings",
    "repeatable: false": "2:13: a recipe that is not repeatable says why",
    "repeatable: {no_because: ' '}": "2:26: a reason is a sentence",
    "repeatable: {because: x}": "2:13: key 'no_because' is missing",
    "network: default": "2:10: a build with network has to say whether it is `repeatable`",
    "network: host": "2:10: 'host' is not one of none, default.",
    "files: []": "2:1: unknown key 'files'.",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_recipe_is_explained(write, text):
    path = write(text)
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}:{BAD[text]}")


SYNTAX = {
    "# syntax=docker/dockerfile:1\nFROM scratch\n": 1,
    "\n# a word\n#Syntax = x\nFROM scratch\n": 3,
    "FROM scratch\n# syntax=x\n": 0,
    "# check=skip=all\nFROM scratch\n": 0,
}


@pytest.mark.parametrize("dockerfile", SYNTAX)
def test_another_frontend_needs_the_network(write, dockerfile):
    read_recipe(write(f"{ONLINE}repeatable: true", dockerfile))
    path = write("", dockerfile)
    if not (line := SYNTAX[dockerfile]):
        read_recipe(path)
        return
    with pytest.raises(RecipeInvalid, match=f"Dockerfile:{line}:1: a `# syntax=` line fetches"):
        read_recipe(path)


def test_the_digest_covers_the_folder_and_the_arguments(write):
    path = write("args: {A: b}")
    before = digest_recipe(read_recipe(path), files_folder(path))
    (path.parent / "own/.dockerignore").write_text("x\n")
    assert (
        len(
            {
                before,
                digest_recipe(read_recipe(path), files_folder(path)),
                digest_recipe(read_recipe(write("args: {A: c}")), files_folder(path)),
            }
        )
        == 3
    )


def test_base_images_come_first_and_are_included(write, tmp_path):
    write("contexts: {base: middle, other: low}", name="top")
    write("contexts: {base: low}", name="middle")
    write(name="low")
    assert base_images_first(["top", "low"], tmp_path) == ["low", "middle", "top"]
    assert base_images_first(["low", "top"], tmp_path) == ["low", "middle", "top"]
    assert [recipe.name for recipe in read_recipes(tmp_path)] == ["low", "middle", "top"]


def test_impossible_base_images_are_refused(write, tmp_path):
    path = write("contexts: {base: two}", name="one")
    with pytest.raises(RecipeInvalid, match=r"one.yaml:2:18: there is no recipe 'two'"):
        read_recipe(path)
    assert read_recipe(path, pooled=True).kind == "dockerfile"
    write("contexts: {base: one}", name="two")
    with pytest.raises(RecipeInvalid, match=r"one.yaml:2:18: an image cannot build on itself: one is from two is"):
        read_recipe(path)
    assert base_images_first(["one"], tmp_path) == ["one"]


def test_the_build_context_has_normalized_modes_and_times(tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True, mode=0o700)
    (source / "empty").mkdir()
    (source / "deep/file").write_text("x")
    (source / "deep/file").chmod(0o600)
    (source / "run").write_text("y")
    (source / "run").chmod(0o777)
    (source / "link").symlink_to("deep/file")
    copy_normalized(source, tmp_path / "copy", 99)
    copied = {str(path.relative_to(tmp_path / "copy")): path.lstat() for path in (tmp_path / "copy").rglob("*")}
    modes = {name: oct(status.st_mode & 0o777) for name, status in copied.items() if name != "link"}
    assert modes == {"deep": "0o755", "deep/file": "0o644", "run": "0o755"}
    assert {int(status.st_mtime) for status in copied.values()} == {99}
    assert os.readlink(tmp_path / "copy/link") == "deep/file"  # noqa: PTH115


ADDED = {
    "FROM scratch\nADD https://joe:s3cret@a.example/x /x\n": 2,
    "FROM scratch\nadd --chmod=755 \\\n  https://s3cret@a.example/x /x\n": 3,
    "FROM scratch\nADD https://a.example/x /x\nENV A=https://joe:public@a.example\nADD git@a.example:x /x\n": 0,
}


@pytest.mark.parametrize("dockerfile", ADDED)
def test_an_address_with_a_password_is_not_added(write, dockerfile):
    path = write(f"{ONLINE}repeatable: true", dockerfile)
    if not ADDED[dockerfile]:
        assert read_recipe(path)
        return
    with pytest.raises(RecipeInvalid, match=f"Dockerfile:{ADDED[dockerfile]}:1: this address has a name") as caught:
        read_recipe(path)
    assert "s3cret" not in str(caught.value)
