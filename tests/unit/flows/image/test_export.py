"""Export of images to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from flows.image.errors import LayerDamaged
from flows.image.export import export
from flows.image.oci import Image
from rootfs.errors import InputError
from rootfs.system.digests import digest_of_bytes
from tests.support.samples import image_of, layered, members, tar_of

FILES = {"hello": b"hello " * 50_000}
NAME = "baseforge/sample:latest"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(FILES, tmp_path / "made")


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "made")


def test_the_file_name_s_ending_selects_the_format(image: Image, tmp_path: Path) -> None:
    for name in ("a.tar.zst", "b.rootfs.tar.zst", "c.tar", "d.rootfs.tar"):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
    assert digest_of_bytes((tmp_path / "a.tar.zst").read_bytes()) == image.layer.digest
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.rootfs.tar.zst").read_bytes()
    assert (tmp_path / "c.tar").read_bytes() == (tmp_path / "d.rootfs.tar").read_bytes() == tar_of(FILES)


def test_an_image_file_is_an_oci_layout_and_a_docker_archive(image: Image, tmp_path: Path) -> None:
    export(image, image.manifest_digest, tmp_path / "x.oci.tar", reference=NAME)
    found = members([(tmp_path / "x.oci.tar").read_bytes()])
    (listed,) = json.loads(found["index.json"])["manifests"]
    assert listed["digest"] == image.manifest_digest
    assert listed["platform"] == {"architecture": "amd64", "os": "linux"}
    assert listed["annotations"] == {
        "io.containerd.image.name": "docker.io/baseforge/sample:latest",
        "org.opencontainers.image.ref.name": "latest",
    }
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == [NAME]
    assert digest_of_bytes(found[entry["Config"]]) == image.config_digest
    assert [found[layer] for layer in entry["Layers"]] == [tar_of(FILES)]
    blobs = {name: digest_of_bytes(data) for name, data in found.items() if name.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(name == f"blobs/{digest.replace(':', '/')}" for name, digest in blobs.items())


UPPER = {"added": b"new", ".wh.gone": b""}


def test_an_exported_tree_merges_all_layers(tmp_path: Path) -> None:
    image = layered({**FILES, "gone": b"old"}, UPPER, tmp_path / "made")
    for name in ("x.tar", "x.tar.zst"):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
    tar = (tmp_path / "x.tar").read_bytes()
    assert members([tar]) == {"added": b"new", **FILES}
    unpacked = zstandard.ZstdDecompressor().stream_reader(
        (tmp_path / "x.tar.zst").read_bytes(), read_across_frames=True
    )
    assert unpacked.read() == tar
    assert files_in(tmp_path) == ["x.tar", "x.tar.zst"]


def test_an_image_file_has_all_layers_in_both_forms(tmp_path: Path) -> None:
    lower = {**FILES, "gone": b"old"}
    image = layered(lower, UPPER, tmp_path / "made")
    export(image, image.manifest_digest, tmp_path / "x.oci.tar", reference=NAME)
    found = members([(tmp_path / "x.oci.tar").read_bytes()])
    (entry,) = json.loads(found["manifest.json"])
    assert [found[layer] for layer in entry["Layers"]] == [tar_of(lower), tar_of(UPPER)]
    blobs = {name for name in found if name.startswith("blobs/")}
    assert blobs >= {f"blobs/{each.digest.replace(':', '/')}" for each in image.layers}
    assert len(blobs) == 6
    assert all(name == f"blobs/{digest_of_bytes(found[name]).replace(':', '/')}" for name in blobs)


def test_an_image_file_is_the_same_every_time(image: Image, tmp_path: Path) -> None:
    for name in ("1.oci.tar", "2.oci.tar"):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
    assert (tmp_path / "1.oci.tar").read_bytes() == (tmp_path / "2.oci.tar").read_bytes()


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("noble:latest", "docker.io/library/noble:latest"),
        ("baseforge/noble:latest", "docker.io/baseforge/noble:latest"),
        ("localhost/noble:1", "localhost/noble:1"),
        ("localhost:5000/noble:1", "localhost:5000/noble:1"),
        ("registry.example/team/noble:1", "registry.example/team/noble:1"),
    ],
)
def test_containerd_wants_the_full_name(reference: str, full: str, image: Image, tmp_path: Path) -> None:
    export(image, image.manifest_digest, tmp_path / "x.oci.tar", reference=reference)
    found = members([(tmp_path / "x.oci.tar").read_bytes()])
    (listed,) = json.loads(found["index.json"])["manifests"]
    assert listed["annotations"]["io.containerd.image.name"] == full


def test_a_file_of_that_name_is_replaced(image: Image, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("old")
    export(image, image.manifest_digest, tmp_path / "x.tar", reference=NAME)
    assert (tmp_path / "x.tar").read_bytes() == tar_of(FILES)
    assert files_in(tmp_path) == ["x.tar"]


@pytest.mark.parametrize("name", ["noble", "noble.zip", "noble.tar.gz", "noble.tgz", ".tarx"])
def test_an_unknown_ending_is_refused(name: str, image: Image, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.oci\.tar"):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
    assert files_in(tmp_path) == []


def test_a_folder_that_is_not_there_is_refused(image: Image, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        export(image, image.manifest_digest, tmp_path / "no/x.tar", reference=NAME)


def test_a_folder_is_not_a_file(image: Image, tmp_path: Path) -> None:
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(InputError, match="folder"):
        export(image, image.manifest_digest, tmp_path / "x.tar", reference=NAME)
    assert files_in(tmp_path) == ["x.tar"]


@pytest.mark.parametrize("name", ["x.tar", "x.oci.tar"])
def test_a_damaged_layer_leaves_the_old_file(name: str, image: Image, tmp_path: Path) -> None:
    (tmp_path / name).write_text("old")
    image.layer.path.write_bytes(zstandard.compress(tar_of({"other": b"content"})))
    with pytest.raises(LayerDamaged):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
    assert (tmp_path / name).read_text() == "old"
    assert files_in(tmp_path) == [name]
