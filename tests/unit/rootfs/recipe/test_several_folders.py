"""Recipes of several folders: one set of images, whose names differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootfs.errors import InputError, RecipeInvalid
from rootfs.recipe.base_images import base_images_first, lineage_files, recipe_file, recipe_files
from rootfs.recipe.recipe import (
    digest_recipe,
    files_folder,
    find_recipe,
    image_names,
    lineage_of,
    read_recipe,
    read_recipes,
    request_of,
)

BASE = "kind: debootstrap\nsuite: trixie\n"
ARCHIVE = "repositories: [{uri: 'http://a', suites: [x], keyring: key}]\n"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A site's own folder with a layer on an image of the other one, the shelf's."""
    own, shelf = tmp_path / "own", tmp_path / "shelf"
    (own / "app").mkdir(parents=True)
    (shelf / "base").mkdir(parents=True)
    (own / "app.yaml").write_text("kind: layer\nfrom: base\n" + ARCHIVE)
    (own / "app/key").write_text("a key")
    (shelf / "base.yaml").write_text("kind: layer\nfrom: lowest\n" + ARCHIVE)
    (shelf / "base/key").write_text("another")
    (shelf / "lowest.yml").write_text(BASE)
    return own, shelf


def test_a_recipe_is_from_one_of_another_folder(folders: tuple[Path, Path]) -> None:
    own, shelf = folders
    assert [each.name for each in read_recipes(*folders)] == ["app", "base", "lowest"]
    assert base_images_first(["app"], *folders) == ["lowest", "base", "app"]
    assert lineage_files(own / "app.yaml", folders) == [own / "app.yaml", shelf / "base.yaml", shelf / "lowest.yml"]
    with pytest.raises(RecipeInvalid, match=f"there is no recipe 'base' in {own}"):
        read_recipe(own / "app.yaml")


def test_keyrings_of_base_recipes_are_found_in_their_own_folder(folders: tuple[Path, Path]) -> None:
    file = find_recipe("app", *folders)
    recipe = read_recipe(file, folders=folders)
    found = request_of(lineage_of(recipe, file, folders), file, folders)
    assert found
    request, files = found
    assert [(files / str(each.keyring)).read_text() for each in request.repositories] == ["another", "a key"]


def test_digests_do_not_depend_on_the_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    own, shelf = folders
    first = [digest_recipe(each, files_folder(find_recipe(each.name, *folders))) for each in read_recipes(*folders)]
    for path in [*own.iterdir()]:
        path.rename(shelf / path.name)
    (shelf / "lowest.yml").rename(shelf / "lowest.yaml")
    [moved] = [shelf.rename(tmp_path / "elsewhere")]
    assert [digest_recipe(each, files_folder(find_recipe(each.name, moved))) for each in read_recipes(moved)] == first


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("own/base.yaml", "shelf/base.yaml"),
        ("shelf/lowest.yaml", "shelf/lowest.yml"),
        ("own/x-debug.yaml", "shelf/x.yaml"),
    ],
)
def test_two_recipes_of_one_image_are_refused_with_both_files(
    first: str, second: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / first).write_text(BASE)
    (tmp_path / "shelf/x.yaml").write_text("kind: scratch\nsuite: trixie\npackages: [tzdata]\ndebug: true\n")
    for find in (lambda: image_names(*folders), lambda: find_recipe("app", *folders), lambda: read_recipes(*folders)):
        with pytest.raises(InputError, match=r"the image '[a-z-]+' is also that of") as refused:
            find()
        assert str(tmp_path / first) in str(refused.value)
        assert str(tmp_path / second) in str(refused.value)


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_both_endings_are_those_of_recipes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"it.{suffix}"
    path.write_text(BASE)
    assert (recipe_files([tmp_path]), recipe_file("it", [tmp_path])) == ({"it": path}, path)
    assert image_names(tmp_path) == ["it"]
