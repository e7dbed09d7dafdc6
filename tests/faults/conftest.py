"""Fixtures for tests of faults: a site with one build, which must have only that build afterwards."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factory import Factory
from tests.support.probe import build_probe
from tests.support.services.fleet import fleet  # noqa: F401 - a fixture

LOCAL_NAME = "baseforge-faults"
SETTLED = 5.0  # seconds a killed process may take to go
TINY = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that does what its arguments say."""
    return build_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site with one build of a tiny image."""
    factory = Factory(tmp_path_factory.mktemp("seed"), {"BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    factory.recipe("tiny", TINY)
    done = factory.run("build", "tiny")
    assert done.status == 0, done.stderr
    yield factory
    subprocess.run(["docker", "rmi", f"{LOCAL_NAME}/tiny"], check=True, capture_output=True)


@pytest.fixture
def site(seed: Factory, tmp_path: Path) -> Iterator[Factory]:
    """A site as the seed left it. What a test does to it may not change what it has published, nor leave anything."""
    factory = Factory(tmp_path / "site", seed.settings)
    shutil.copytree(seed.folder / "store", factory.folder / "store")
    shutil.copytree(seed.recipes, factory.recipes)
    before = factory.builds(), factory.images()
    assert before[0]
    yield factory
    assert _settled(factory) == []
    assert (factory.builds(), factory.images()) == before
    assert list((factory.folder / "store").rglob("*.partial")) == []


def _settled(factory: Factory) -> list[str]:
    until = time.monotonic() + SETTLED
    while (left := factory.leftovers()) and time.monotonic() < until:
        time.sleep(0.2)
    return left
