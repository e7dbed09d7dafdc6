"""Debian and Ubuntu recipes of the shelf that no other test builds: made in one night, and each made again."""

from __future__ import annotations

import pytest

from rootfs.recipe import DebootstrapRecipe, read_all
from tests.engine.test_verify import DEBIAN
from tests.factory import SHELF, Factory

IMAGES = tuple(each.name for each in read_all(SHELF) if isinstance(each, DebootstrapRecipe) and each.name not in DEBIAN)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    made = Factory(tmp_path_factory.mktemp("shelf"), {"BASEFORGE_LOCAL_NAME": "baseforge-shelf"})
    made.shelf(*IMAGES)
    done = made.run("nightly", "--json")
    assert done.status == 0, done.stderr
    assert done.json["summary"] == {"published": len(IMAGES)}
    return made


@pytest.mark.parametrize("image", IMAGES)
def test_made_again_it_is_the_same(site, image):
    done = site.run("verify", image, "--json")
    assert (done.status, done.json["status"]) == (0, "reproduced"), done.stderr
    assert site.leftovers() == []
