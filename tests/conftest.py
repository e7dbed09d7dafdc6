"""Fixtures of all tests: a Docker engine of their own, so that no test touches the machine's engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer

from tests.support.groups import Groups, longest_first
from tests.support.services.dockerd import EngineMissing, dockerd

WITHOUT_ENGINE = tuple(Path(__file__).parent / stage for stage in ("unit", "lint"))
# What else decides which engine a command talks to, and how.
CHOICES = ("DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests that are marked `full`")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: repeats for another image or driver what a quicker test shows too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only part of a full run, and begin with what takes longest."""
    if not config.getoption("--full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    longest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    """Share whole groups between the workers where `--dist=loadscope` says so."""
    if config.getoption("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start an engine that the session's tests and the commands that they run use; some stages need none."""
    if all(any(item.path.is_relative_to(stage) for stage in WITHOUT_ENGINE) for item in request.session.items):
        yield
        return
    try:
        with dockerd() as daemon, pytest.MonkeyPatch.context() as patch:
            for name in CHOICES:
                patch.delenv(name, raising=False)
            patch.setenv("DOCKER_HOST", daemon.address)
            config = tmp_path_factory.mktemp("docker")
            (config / "config.json").write_text("{}")  # podman wants one
            patch.setenv("DOCKER_CONFIG", str(config))
            worker, home = (os.environ.get(name) for name in ("PYTEST_XDIST_WORKER", "BASEFORGE_HOME"))
            if worker and home:  # each worker has a Prefect server of its own
                patch.setenv("BASEFORGE_HOME", f"{home}/{worker}")
            yield
    except EngineMissing as error:
        pytest.exit(str(error), returncode=3)
