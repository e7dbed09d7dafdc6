"""Recipes of the shelf that no other test builds: made one after the other, and each made again."""

from __future__ import annotations

import pytest

from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import read_all
from tests.engine.test_verify import DEBIAN, RUNTIMES
from tests.support.factory import SHELF, Factory

OTHERS = tuple(each.name for each in read_all(SHELF) if not isinstance(each, LayerRecipe))
IMAGES = tuple(name for name in OTHERS if name not in (*DEBIAN, *RUNTIMES))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    made = Factory(tmp_path_factory.mktemp("shelf"), {"BASEFORGE_LOCAL_NAME": "baseforge-shelf"})
    made.shelf(*IMAGES)
    assert {each["status"] for each in made.built(*IMAGES)} == {"published"}
    return made


@pytest.mark.parametrize("image", IMAGES)
def test_made_again_it_is_the_same(site, image):
    done = site.run("verify", image, "--json")
    assert (done.status, done.json["status"]) == (0, "reproduced"), done.stderr
    assert site.leftovers() == []
