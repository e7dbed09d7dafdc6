"""Why an image is built: the differences between its inputs and its newest build, in a few words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.inputs.resolve import ImageInputs, Inputs, resolve_image
from flows.night.changes import listed, why_built
from flows.night.document import PackageChange
from flows.publish.record import BaseImageBuild, Record
from rootfs.lock.lock import Lock
from tests.support.contexts import build_context, context
from tests.support.debs import package

DIGESTS = [f"sha256:{number:064}" for number in range(3)]
OLD = Lock(packages=(package("openssl", "3.0.15-1"), package("libc6", "2.41-1"), package("gone", "1")))
NEW = Lock(packages=(package("openssl", "3.0.15-2"), package("libc6", "2.41-1", sha256="1" * 64), package("new", "1")))


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """The inputs of an image of one platform, with packages, tools and a base image."""
    (tmp_path / "it.yaml").write_text("kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    found = resolve_image(build_context(context(tmp_path, recipes=(tmp_path,)))).platforms[0]
    base = BaseImageBuild(image="low", build="1", manifest_digest=DIGESTS[0])
    return replace(found, lock=OLD, newest=OLD, tools={"mmdebstrap": "1.2", "zstd": "1.5.7"}, base=base)


def record_of(inputs: Inputs) -> Record:
    """The record of a build with these inputs."""
    return Record(
        image="it",
        build="1",
        status="published",
        platforms=(inputs.platform,),
        input_digest=inputs.digest,
        recipe_digest=inputs.recipe_digest,
        lock=inputs.lock,
        lock_digest=inputs.lock.digest,
        tools=inputs.tools,
        parent=inputs.base,
        bases=inputs.bases,
    )


def why(before: Record | None, *now: Inputs) -> str:
    return why_built(ImageInputs(now), before)[0]


def test_each_kind_of_difference_has_its_reason(inputs: Inputs) -> None:
    before = record_of(inputs)
    base = BaseImageBuild(image="low", build="2", manifest_digest=DIGESTS[1])
    assert why(None, inputs) == "new image"
    assert why(before, replace(inputs, recipe_digest=DIGESTS[1])) == "recipe changed"
    assert why(before, replace(inputs, base=base)) == "base image changed: low"
    assert (
        why(before, replace(inputs, bases=(base.model_copy(update={"image": "side"}),))) == "base image changed: side"
    )
    assert why(before, replace(inputs, tools={"mmdebstrap": "1.3", "zstd": "1.5.7"})) == (
        "tools changed: mmdebstrap 1.2 → 1.3"
    )
    assert why(before, replace(inputs, lock=OLD.model_copy(update={"tarball": DIGESTS[1]}))) == "tarball changed"
    assert why(before, inputs) == "the store has lost a part of build 1"
    older = before.model_copy(update={"input_digest": DIGESTS[2]})
    assert why(older, inputs) == "Baseforge's build revision changed"


def test_packages_are_named_with_their_versions(inputs: Inputs) -> None:
    reason, changes = why_built(ImageInputs((replace(inputs, lock=NEW),)), record_of(inputs))
    assert reason == "gone 1 removed, libc6 2.41-1 rebuilt, new 1 added, openssl 3.0.15-1 → 3.0.15-2"
    assert [each.name for each in changes] == ["gone", "libc6", "new", "openssl"]
    both = replace(inputs, lock=NEW, recipe_digest=DIGESTS[1])
    assert why(record_of(inputs), both) == f"recipe changed; {reason}"


def test_a_long_list_is_cut() -> None:
    changes = [PackageChange(name=f"p{number}", old="1", new="2") for number in range(8)]
    assert listed(changes) == "p0 1 → 2, p1 1 → 2, p2 1 → 2, p3 1 → 2, p4 1 → 2, 3 more"


def test_platforms_that_come_and_go_are_named(inputs: Inputs) -> None:
    before = record_of(inputs)
    other = replace(inputs, architecture="riscv64")
    assert why(before, inputs, other) == "platform linux/riscv64 added"
    two = before.model_copy(
        update={
            "platforms": (inputs.platform, other.platform),
            "parts": (before, before.model_copy(update={"platforms": (other.platform,)})),
        }
    )
    assert why(two, inputs) == "platform linux/riscv64 removed"
    assert why(two, replace(inputs, lock=NEW), replace(other, lock=NEW)).count("openssl") == 1
