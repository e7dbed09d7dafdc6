"""Images for several platforms as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.image.export import export
from flows.image.index import Index, combine_images
from flows.image.oci import Image, blob_path
from flows.publish import stored_builds
from flows.store.open import open_store
from rootfs.system.digests import digest_of_bytes
from tests.support.samples import image_of, members, tar_of

PLATFORMS = [{"architecture": "amd64", "os": "linux"}, {"architecture": "arm", "os": "linux", "variant": "v7"}]


@pytest.fixture
def images(tmp_path: Path) -> list[Image]:
    return [image_of({"a": each.encode()}, tmp_path / each, architecture=each) for each in ("amd64", "armhf")]


@pytest.fixture
def index(images: list[Image], tmp_path: Path) -> Index:
    (tmp_path / "index").mkdir()
    return combine_images(images, tmp_path / "index")


def test_an_index_has_each_image_with_its_platform(images: list[Image], index: Index) -> None:
    [listed] = json.loads((index.layout / "index.json").read_bytes())["manifests"]
    data = blob_path(index.layout, index.manifest_digest).read_bytes()
    assert (digest_of_bytes(data), listed["digest"], listed["size"]) == (
        index.manifest_digest,
        index.manifest_digest,
        len(data),
    )
    said = json.loads(data)["manifests"]
    assert [each["digest"] for each in said] == [image.manifest_digest for image in images]
    assert [each["platform"] for each in said] == PLATFORMS
    assert index.size == len(data) + sum(image.size for image in images)
    for path in (index.layout / "blobs/sha256").iterdir():
        assert digest_of_bytes(path.read_bytes()) == f"sha256:{path.name}"
    for image, one in zip(images, said, strict=True):
        assert blob_path(index.layout, image.layer.digest).samefile(image.layer.path)
        assert one["size"] == blob_path(image.layout, image.manifest_digest).stat().st_size


def test_an_index_has_the_annotations_that_its_images_share_and_the_newest_time(tmp_path: Path) -> None:
    created, title = "org.opencontainers.image.created", "org.opencontainers.image.title"
    said = {
        "amd64": {created: "2026-01-02T00:00:00Z", title: "it"},
        "armhf": {created: "2026-01-01T00:00:00Z", title: "it"},
    }
    said["armhf"]["org.opencontainers.image.version"] = "2"
    images = [image_of({}, tmp_path / each, architecture=each, annotations=found) for each, found in said.items()]
    (tmp_path / "index").mkdir()
    made = combine_images(images, tmp_path / "index")
    index = json.loads(blob_path(made.layout, made.manifest_digest).read_bytes())
    assert index["annotations"] == said["amd64"]
    assert list(index) == ["schemaVersion", "mediaType", "manifests", "annotations"]


def test_the_order_is_that_of_the_recipe(images: list[Image], index: Index, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert combine_images(images, tmp_path / "again").manifest_digest == index.manifest_digest
    (tmp_path / "other").mkdir()
    assert combine_images(images[::-1], tmp_path / "other").manifest_digest != index.manifest_digest


def test_engines_that_know_no_index_load_the_machine_s_image(images: list[Image], index: Index, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for image in images:
        stored_builds.keep_blobs(store, image)
    stored_builds.keep_index(store, index)
    own = images[1]
    export(store, own.manifest_digest, tmp_path / "x.oci.tar", reference="a:1", index=index.manifest_digest)
    found = members([(tmp_path / "x.oci.tar").read_bytes()])
    [listed] = json.loads(found["index.json"])["manifests"]
    assert (listed["digest"], "platform" in listed) == (index.manifest_digest, False)
    assert listed["annotations"]["org.opencontainers.image.ref.name"] == "1"
    [entry] = json.loads(found["manifest.json"])
    assert digest_of_bytes(found[entry["Config"]]) == own.config_digest
    assert [found[layer] for layer in entry["Layers"]] == [tar_of({"a": b"armhf"})]
    blobs = {digest_of_bytes(data) for name, data in found.items() if name.startswith("blobs/")}
    layout = {f"sha256:{path.name}" for path in (index.layout / "blobs/sha256").iterdir()}
    assert blobs == layout | {own.layer.diff_id}
    export(store, own.manifest_digest, tmp_path / "x.tar", reference="a:1", index=index.manifest_digest)
    assert (tmp_path / "x.tar").read_bytes() == tar_of({"a": b"armhf"})
