"""A place for builders: an engine with BuildKit's image, and buildx with a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.builders.engine import Engine, connect
from tests.support.services.buildkit import build_image
from tests.support.services.dockerd import dockerd
from tests.support.services.tools import tool


@dataclass(frozen=True)
class Workshop:
    """The engine, and where buildx keeps its builders."""

    engine: Engine
    buildx: Path

    def leftovers(self) -> list[str]:
        """Containers, volumes, and builders that buildx knows."""
        api = self.engine.client.api
        containers = [each["Names"][0] for each in api.containers(all=True)]
        volumes = [each["Name"] for each in api.volumes()["Volumes"] or []]
        return containers + volumes + [path.name for path in (self.buildx / "instances").glob("*")]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where an engine listens that can run privileged containers and has the image that builders are made of."""
    with dockerd() as daemon:
        build_image(tmp_path_factory.mktemp("buildkit"), daemon.address)
        yield daemon.address


@pytest.fixture
def workshop(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    plugins = tmp_path / "docker/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(tool("buildx"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("DOCKER_HOST", address)
    with connect() as engine:
        yield Workshop(engine, tmp_path / "docker/buildx")
        _clear(engine)


def _clear(engine: Engine) -> None:
    """Remove what a test that failed has left, which the next ones would find."""
    for container in engine.client.api.containers(all=True):
        engine.client.api.remove_container(container["Id"], force=True, v=True)
    for volume in engine.client.api.volumes()["Volumes"] or []:
        engine.client.api.remove_volume(volume["Name"], force=True)
