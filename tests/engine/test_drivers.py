"""An image is the same through every driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Factory
from tests.support.services.buildkit import IMAGE, Buildkitd, buildkitd
from tests.support.services.kubernetes import GONE, Cluster
from tests.support.services.workshop import Workshop

RECIPE = """
kind: scratch
suite: trixie
packages: [busybox-static]
ingredients: [certificates, zones, users, tmp]
files: [{path: /bin/sh, link: busybox}, {path: /etc/motd, content: no other image of the tests}]
smoke: [{run: [sh, -c, 'echo $((6 * 7))'], stdout: ^42$}]
"""
STEPS = {"acquire", "bootstrap", "import", "release"}
BUILDERS = """
[builders.container]
lifecycle = "ephemeral"
options = {{ image = "{image}", network = "none" }}

[builders.pod]
lifecycle = "ephemeral"
driver = "kubernetes"
options = {{ image = "{image}" }}

[builders.far]
lifecycle = "ephemeral"
driver = "remote"
endpoint = "{address}"
"""
DRIVERS = {"default": "docker", "container": "docker-container", "pod": "kubernetes", "far": "remote"}


@pytest.fixture
def daemon() -> Iterator[Buildkitd]:
    with buildkitd() as running:
        yield running


@pytest.fixture
def site(daemon: Buildkitd, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A site that has a small image, and a builder of each driver."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    factory = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-drivers"})
    factory.folder.mkdir()
    factory.recipe("small", RECIPE)
    (factory.folder / "baseforge.toml").write_text(BUILDERS.format(image=IMAGE, address=daemon.address))
    return factory


def built(site: Factory, workshop: Workshop, builder: str) -> dict[str, Any]:
    """The record of the image through this builder; the image has come through, since the engine did not have it."""
    before = set(workshop.engine.client.api.images(quiet=True, all=True))
    done = site.run("build", "small", "--builder", builder, "--force", "--no-publish", "--json")
    assert done.status == 0, done.stderr
    [record] = done.json
    assert f"✓ import small/amd64 ({DRIVERS[builder]})" in done.stderr
    assert set(workshop.engine.client.api.images(quiet=True, all=True)) == before
    assert record["config_digest"] not in before
    return dict(record)


def test_an_image_is_the_same_through_every_driver(site: Factory, workshop: Workshop, cluster: Cluster) -> None:
    records = {builder: built(site, workshop, builder) for builder in DRIVERS}
    assert len({record["manifest_digest"] for record in records.values()}) == 1
    assert len({record["config_digest"] for record in records.values()}) == 1
    for builder, record in records.items():
        assert record["seconds"].keys() >= STEPS
        used = record["builder"]
        assert (used["driver"], used["why"]) == (DRIVERS[builder], "--builder")
        assert bool(used["buildkit"]) == (builder != "default")
        if run := re.fullmatch(r"baseforge-(.{36})-1x", used["name"]):
            assert site.api.recorded(run[1], STEPS)
        else:
            assert used["name"] == builder == "default"
    assert workshop.leftovers() == []
    assert cluster.leftovers(wait=GONE) == []
    assert site.leftovers() == []
