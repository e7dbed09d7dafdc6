"""Fixtures for tests of builders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HELLO = Path(__file__).parents[3] / "recipes/hello/hello.c"


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The context of Docker's own example of a base image: a static program, and a Dockerfile from scratch."""
    folder = tmp_path_factory.mktemp("example")
    subprocess.run(["gcc", "-static", "-O2", "-s", "-o", folder / "hello", HELLO], check=True)
    (folder / "Dockerfile").write_text('FROM scratch\nADD hello /\nCMD ["/hello"]\n')
    return folder
