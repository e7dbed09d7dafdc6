"""A machine whose docker command has no buildx: the engine's own builder is there all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.builders import listing, manage
from flows.builders.errors import BuildxMissing, engine_unreachable
from rootfs.errors import InputError
from tests.unit.flows.builders import fake
from tests.unit.flows.builders.conftest import Stub


@pytest.fixture(autouse=True)
def _engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: Stub) -> Iterator[None]:
    """An engine that answers, and a docker command that knows no `buildx`."""
    docker("exit 1")
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    version = {**fake.VERSION, "Arch": "amd64"}
    with fake.engine(tmp_path, {"/version": version}) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield


def test_the_engines_own_builder_is_listed_and_shown() -> None:
    [builder] = listing.listed()
    assert (builder.name, builder.driver, builder.selected, builder.status) == ("default", "docker", True, "running")
    assert builder.nodes[0].platforms == ("linux/amd64",)
    assert listing.find(listing.name_or_selected("")) == builder
    assert manage.boot("default", print) == builder


def test_the_engines_own_builder_is_used_already() -> None:
    manage.use("default")
    with pytest.raises(InputError, match="the engine of a docker context itself: it cannot be removed"):
        manage.check(["default"], "removed")


def test_other_builders_need_buildx_and_the_hint_brings_it() -> None:
    for call in (lambda: manage.use("big"), lambda: listing.find("big"), lambda: manage.check(["big"], "stopped")):
        with pytest.raises(BuildxMissing, match="no buildx") as missing:
            call()
        assert "setup --buildx" in missing.value.hint
        assert "driver" not in missing.value.message


def test_an_engine_that_does_not_answer_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise engine_unreachable("unix:///nowhere.sock", "No such file or directory")

    monkeypatch.setattr(listing, "connect", unreachable)
    [builder] = listing.listed()
    assert (builder.name, builder.status) == ("default", "error")
    assert "does not answer" in builder.error
