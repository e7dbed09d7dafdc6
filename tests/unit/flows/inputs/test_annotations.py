"""The annotations of a manifest: what registries show of an image, from its inputs alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.inputs.annotations import annotations_of
from flows.inputs.resolve import Inputs
from flows.publish.record import BaseImageBuild
from rootfs.lock.lock import Lock, Release
from rootfs.recipe.recipe import read_recipe

EPOCH = 1_700_000_000
RELEASE = Release(address="http://a", suite="trixie", sha256="ab" * 32, date=EPOCH - 60, signer="F" * 40)
BASE = BaseImageBuild(image="trixie-slim", build="20261130T020000Z-1a2b3c4d", manifest_digest=f"sha256:{'c' * 64}")


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    file = tmp_path / "it.yaml"
    file.write_text(
        "kind: scratch\ndescription: Any sentence\nfiles: [{path: /x, content: x}]\n"
        "image: {labels: {org.opencontainers.image.source: 'https://forge.example/it', other: label}}\n"
    )
    recipe = read_recipe(file)
    return Inputs(recipe, file, "amd64", Lock(), Lock(), {}, "sha256:0", (recipe,))


def test_an_image_says_its_name_its_time_and_what_its_labels_say(inputs: Inputs) -> None:
    assert annotations_of(inputs, EPOCH) == {
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.title": "it",
        "org.opencontainers.image.source": "https://forge.example/it",
    }


def test_an_image_of_packages_has_the_state_of_the_archive_as_its_version(inputs: Inputs) -> None:
    found = annotations_of(replace(inputs, lock=Lock(releases=(RELEASE,))), EPOCH)
    assert found["org.opencontainers.image.version"] == "20231114T221220Z"


def test_an_image_names_its_base_image(inputs: Inputs) -> None:
    found = annotations_of(inputs, EPOCH, BASE)
    assert found["org.opencontainers.image.base.name"] == "trixie-slim"
    assert found["org.opencontainers.image.base.digest"] == BASE.manifest_digest
