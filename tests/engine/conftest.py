"""What tests on a real engine share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.builders.engine import Engine, connect
from tests.engine.kubernetes import cluster  # noqa: F401 - fixtures, as are the next
from tests.engine.workshop import address, workshop  # noqa: F401
from tests.unit.rootfs.mirror import mirror  # noqa: F401


@pytest.fixture
def engine() -> Iterator[Engine]:
    """The engine of this machine."""
    with connect() as reached:
        yield reached


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program that does what it is told (probe.c)."""
    binary = tmp_path_factory.mktemp("probe") / "probe"
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["gcc", "-static", "-O1", "-s", "-o", binary, source], check=True)
    return binary.read_bytes()
