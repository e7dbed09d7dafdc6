"""Recipes of the shelf that no other test builds: built one after the other, and each built again."""

from __future__ import annotations

import pytest

from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import read_recipes
from tests.engine.test_verify import DEBIAN, RUNTIMES
from tests.support.factory import SHELF, Factory
from tests.support.parameters import some_in_full
from tests.support.shelf import IMAGES as BUILT
from tests.support.shelf import Shelf

OTHERS = tuple(each.name for each in read_recipes(SHELF) if not isinstance(each, LayerRecipe))
IMAGES = tuple(name for name in OTHERS if name not in (*DEBIAN, *RUNTIMES))


# Like bookworm-slim, but with its documentation; like base; like java and node, of packages alone.
FULL = ("bookworm", "base-nossl", "cc")


@pytest.fixture(scope="module")
def site(shelf: Shelf, pytestconfig: pytest.Config) -> Factory:
    left_out = BUILT if pytestconfig.getoption("--full") else (*BUILT, *FULL)
    others = [name for name in IMAGES if name not in left_out]
    shelf.site.shelf(*others)
    assert {each["status"] for each in shelf.site.built(*others)} == {"published"}
    return shelf.site


@pytest.mark.parametrize("image", some_in_full(IMAGES, *FULL))
def test_verify_reproduces_each_recipe_of_the_shelf(site, image):
    done = site.run("verify", image, "--json")
    assert (done.status, done.json["status"]) == (0, "reproduced"), done.stderr
    assert site.leftovers() == []


def test_a_second_night_over_the_shelf_publishes_nothing_and_needs_no_prefect(site):
    only = [word for path in sorted(site.recipes.glob("*.yaml")) for word in ("--only", path.stem)]
    site.run("nightly", *only)  # an archive may have changed since the images were built
    builds = site.builds()
    night = site.run("nightly", *only, "--json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (night.status, set(night.json["summary"])) == (0, {"unchanged"}), night.stderr
    assert len(night.json["images"]) >= len(BUILT)
    assert " prefect" not in night.stderr
    assert site.builds() == builds
