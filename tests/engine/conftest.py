"""Fixtures for tests on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.builders.engine import Engine, connect
from tests.support.mirror import mirror  # noqa: F401
from tests.support.probe import build_probe
from tests.support.services.fleet import fleet  # noqa: F401 - a fixture
from tests.support.services.kubernetes import cluster  # noqa: F401 - fixtures, as are the next
from tests.support.services.workshop import address, workshop  # noqa: F401
from tests.support.shelf import shelf  # noqa: F401


@pytest.fixture
def engine() -> Iterator[Engine]:
    """The engine of this machine."""
    with connect() as reached:
        yield reached


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program that does what its arguments say."""
    return build_probe(tmp_path_factory.mktemp("probe")).read_bytes()
