"""One site with images of the shelf, built once for all tests that look at them, in one command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.factory import Done, Factory
from tests.support.home import own_home

LOCAL_NAME = "baseforge-shelf"
IMAGES = ("noble", "trixie", "trixie-slim", "hello")


@dataclass(frozen=True)
class Shelf:
    """The site, with a data folder (and so a Prefect server) of its own, and how its first build went."""

    site: Factory
    first: Done


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Tests may build more in the site. They leave what IMAGES names as the first build made it."""
    folder = tmp_path_factory.mktemp("shelf")
    site = Factory(folder, {**own_home(folder / "home"), "BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    site.shelf(*IMAGES)
    yield Shelf(site, site.run("build", *IMAGES, "--json"))
    site.run("stop")
    site.remove_images()
