"""Other programs read our images, and all find the same digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from flows.builders.engine import Engine
from flows.image.export import export
from flows.image.oci import Image
from flows.store.folder import FolderStore
from rootfs.errors import BlobDamaged
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import digest_of_bytes
from rootfs.system.errors import DiskFull
from tests.support.samples import image_of
from tests.support.services.podman import LIMITS, podman
from tests.support.services.tools import tool

NAME = f"baseforge-test-{uuid.uuid4().hex[:8]}/readers:latest"
SETTINGS = ImageSettings(entrypoint=("/probe",), cmd=("say", "hello"), labels={"title": 'a <b> & "c"'})


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, probe: bytes) -> Image:
    files = {"probe": probe, "unique": uuid.uuid4().hex.encode(), "noise": os.urandom(2 << 20)}
    return image_of(files, tmp_path_factory.mktemp("readers"), SETTINGS)


@pytest.fixture(scope="module")
def file(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "sample.oci.tar"
    export(image, image.manifest_digest, path, reference=NAME)
    return path


def output(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["layout", "file"])
def test_skopeo(kind: str, image: Image, file: Path) -> None:
    where = f"oci:{image.layout}:sample" if kind == "layout" else f"oci-archive:{file}"
    said = json.loads(output("skopeo", "inspect", where))
    assert said["Digest"] == image.manifest_digest
    assert said["Layers"] == [image.layer.digest]
    assert said["Labels"] == SETTINGS.labels
    assert digest_of_bytes(output("skopeo", "inspect", "--config", "--raw", where).encode()) == image.config_digest


def test_skopeo_copies_it_unchanged(image: Image, file: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    output("skopeo", "--insecure-policy", "copy", "--preserve-digests", f"oci-archive:{file}", f"oci:{copied}")
    for digest in (image.manifest_digest, image.config_digest, image.layer.digest):
        name = f"blobs/{digest.replace(':', '/')}"
        assert (copied / name).read_bytes() == (image.layout / name).read_bytes()


def test_umoci(image: Image, probe: bytes, tmp_path: Path) -> None:
    output(tool("umoci"), "unpack", "--image", f"{image.layout}:sample", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/probe").read_bytes() == probe
    config = json.loads((tmp_path / "bundle/config.json").read_text())
    assert config["process"]["args"] == ["/probe", "say", "hello"]


def test_docker_load(image: Image, file: Path, engine: Engine) -> None:
    try:
        assert NAME in output("docker", "load", "--input", file)
        details = engine.inspect(NAME)
        assert details
        assert details["Id"] == engine.image_id(image)
        assert details["RootFS"]["Layers"] == [image.layer.diff_id]
        assert output("docker", "run", "--rm", "--network=none", NAME) == "hello\n"
    finally:
        output("docker", "rmi", NAME)


def test_podman_load(image: Image, file: Path) -> None:
    with podman() as run:
        assert NAME in run("load", "--input", file)
        (details,) = json.loads(run("image", "inspect", NAME))
        assert f"sha256:{details['Id']}" == image.config_digest
        assert details["Digest"] == image.manifest_digest
        assert run("run", "--rm", "--network=none", *LIMITS, NAME) == "hello\n"


def test_the_root_filesystem_is_a_tar(image: Image, probe: bytes, tmp_path: Path) -> None:
    for name in ("rootfs.tar", "rootfs.tar.zst"):
        export(image, image.manifest_digest, tmp_path / name, reference=NAME)
        (tmp_path / "tree").mkdir()
        output("tar", "--extract", "--file", tmp_path / name, "--directory", tmp_path / "tree")
        assert (tmp_path / "tree/probe").read_bytes() == probe
        shutil.rmtree(tmp_path / "tree")


def test_from_a_store(image: Image, file: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for digest in (image.layer.digest, image.config_digest, image.manifest_digest):
        with image.open_blob(digest) as stream:
            store.put_blob(stream, digest)
    export(store, image.manifest_digest, tmp_path / "again.oci.tar", reference=NAME)
    assert (tmp_path / "again.oci.tar").read_bytes() == file.read_bytes()

    blob = tmp_path / "store/blobs" / image.layer.digest.replace(":", "/")
    damaged = bytearray(blob.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(damaged)
    for name in ("a.oci.tar", "a.tar", "a.tar.zst"):
        with pytest.raises(BlobDamaged):
            export(store, image.manifest_digest, tmp_path / name, reference=NAME)
        assert not list(tmp_path.glob(f"*{name}*"))


@pytest.mark.parametrize("name", ["x.tar", "x.tar.zst", "x.oci.tar"])
def test_a_full_disk(name: str, image: Image, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    output("mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "small")
    try:
        with pytest.raises(DiskFull, match="small"):
            export(image, image.manifest_digest, tmp_path / "small" / name, reference=NAME)
        assert list((tmp_path / "small").iterdir()) == []
    finally:
        output("umount", tmp_path / "small")
