"""An image as a stream that engines load."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from flows.image.archives import docker_archive, docker_archive_of_layer, oci_archive, tar_header
from flows.image.errors import LayerDamaged
from flows.image.oci import Image
from tests.support.samples import image_of, layered, members, tar_of

FILES = {"hello": b"hello " * 500_000, "empty": b""}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(FILES, tmp_path)


def named(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def test_a_docker_archive_holds_the_plain_tar(image: Image) -> None:
    found = members(docker_archive(image))
    layer, config = named(image.layer.diff_id), named(image.config_digest)
    assert json.loads(found.pop("manifest.json")) == [{"Config": config, "RepoTags": None, "Layers": [layer]}]
    assert found == {layer: tar_of(FILES), config: (image.layout / config).read_bytes()}


def test_several_layers(tmp_path: Path) -> None:
    image = layered(FILES, {"new": b"new"}, tmp_path / "two")
    whole = members(docker_archive(image))
    lower, upper = (named(layer.diff_id) for layer in image.layers)
    assert json.loads(whole["manifest.json"])[0]["Layers"] == [lower, upper]
    assert (whole[lower], whole[upper]) == (tar_of(FILES), tar_of({"new": b"new"}))
    assert members(docker_archive_of_layer(image)) == {name: data for name, data in whole.items() if name != lower}
    assert {named(layer.digest) for layer in image.layers} < set(members(oci_archive(image)))


def test_a_layer_of_several_frames_is_unpacked_to_its_end(image: Image) -> None:
    tar = tar_of(FILES)
    frames = b"".join(zstandard.compress(tar[start : start + 100_000]) for start in range(0, len(tar), 100_000))
    image.layer.path.write_bytes(frames)
    assert members(docker_archive(image))[named(image.layer.diff_id)] == tar
    image.layer.path.write_bytes(frames[: frames.rindex(b"\x28\xb5\x2f\xfd")])  # without the last frame
    with pytest.raises(LayerDamaged):
        list(docker_archive(image))


def test_an_oci_archive_is_the_layout(image: Image) -> None:
    found = members(oci_archive(image))
    (listed,) = json.loads(found.pop("index.json"))["manifests"]
    assert listed["digest"] == image.manifest_digest
    assert "annotations" not in listed  # no name yet
    blobs = (image.manifest_digest, image.config_digest, image.layer.digest)
    names = {"oci-layout"} | {named(digest) for digest in blobs}
    assert found == {name: (image.layout / name).read_bytes() for name in names}


def test_archives_are_streamed_in_pieces(image: Image) -> None:
    assert max(map(len, docker_archive(image))) <= 1 << 20
    assert max(map(len, oci_archive(image))) <= 1 << 20


def test_a_layer_that_was_cut_off_is_noticed(image: Image) -> None:
    whole = image.layer.path.read_bytes()
    image.layer.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LayerDamaged):
        list(docker_archive(image))


def test_a_layer_with_a_flipped_bit_is_noticed(image: Image) -> None:
    damaged = bytearray(image.layer.path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    image.layer.path.write_bytes(damaged)
    with pytest.raises(LayerDamaged):
        list(docker_archive(image))


def test_a_layer_of_another_image_is_noticed(image: Image) -> None:
    other = replace(image, layer=replace(image.layer, diff_id="sha256:" + "0" * 64))
    with pytest.raises(LayerDamaged, match="not sha256:0000"):
        list(docker_archive(other))


def test_headers_have_room_for_any_size() -> None:
    read = tarfile.TarInfo.frombuf(tar_header("blobs/sha256/" + "a" * 64, 20 << 30), "utf-8", "strict")
    assert (read.name, read.size, read.mode, read.mtime) == ("blobs/sha256/" + "a" * 64, 20 << 30, 0o644, 0)
