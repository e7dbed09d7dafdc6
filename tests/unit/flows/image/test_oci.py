"""OCI layouts of layers and settings, byte for byte."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.image.oci import BaseImage, Image, annotations_of, blob_path, encoded, make_image
from rootfs.errors import InputError
from rootfs.layer.pack import Layer
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import digest_of_bytes
from tests.support.samples import EPOCH, image_of, layer_of

NOTHING = bytes(1024)  # a tar without members
PACKED = bytes.fromhex("28b52ffd6000034d00001000000100fb2b8005")  # the same, as zstd
LAYER, DIFF_ID = digest_of_bytes(PACKED), digest_of_bytes(NOTHING)

SETTINGS = ImageSettings(
    cmd=("serve", "--all"),
    entrypoint=("/bin/app",),
    env={"ZED": "a<b>&c", "LANG": "C.UTF-8"},
    user="1000:1000",
    workdir="/srv",
    labels={"title": 'quote " and \u2028 and ü', "a": "tab\tdel\x7fbell\x07back\b"},
    expose=("8080", "53/udp"),
    volumes=("/data", "/cache"),
    stop_signal="SIGINT",
)

# BuildKit 0.34 was given this layout (`FROM base`, the layout as a named context, `--output type=oci`) and wrote these
# bytes again.
CONFIG = (
    rb'{"architecture":"arm","config":{"User":"1000:1000","ExposedPorts":{"53/udp":{},"8080/tcp":{}},'
    rb'"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=C.UTF-8",'
    rb'"ZED=a\u003cb\u003e\u0026c"],"Entrypoint":["/bin/app"],"Cmd":["serve","--all"],'
    rb'"Volumes":{"/cache":{},"/data":{}},"WorkingDir":"/srv",'
    rb'"Labels":{"a":"tab\tdel'
    + b"\x7f"
    + rb'bell\u0007back\b","title":"quote \" and \u2028 and '
    + "ü".encode()
    + b'"},'
    rb'"StopSignal":"SIGINT"},"created":"2023-11-14T22:13:20Z","history":[{"created":"2023-11-14T22:13:20Z",'
    rb'"created_by":"baseforge build sample"}],"os":"linux","rootfs":{"type":"layers","diff_ids":['
    b'"' + DIFF_ID.encode() + b'"]},"variant":"v7"}'
)
MANIFEST = """{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "%s",
    "size": %d
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
      "digest": "%s",
      "size": %d
    }
  ]
}"""


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    path = tmp_path / "layer"
    path.write_bytes(PACKED)
    return Layer(path, LAYER, DIFF_ID, len(PACKED), len(NOTHING))


def test_the_bytes_are_those_that_a_builder_writes(layer: Layer, tmp_path: Path) -> None:
    made = make_image(layer, SETTINGS, name="sample", architecture="armhf", epoch=EPOCH, folder=tmp_path / "layout")
    manifest = (MANIFEST % (made.config_digest, len(CONFIG), LAYER, len(PACKED))).encode()
    assert blob_path(made.layout, made.config_digest).read_bytes() == CONFIG
    assert blob_path(made.layout, made.manifest_digest).read_bytes() == manifest
    assert made.size == len(CONFIG) + len(manifest) + len(PACKED)
    assert (made.layout / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'
    assert json.loads((made.layout / "index.json").read_text())["manifests"] == [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": made.manifest_digest,
            "size": len(manifest),
            "annotations": {"org.opencontainers.image.ref.name": "sample"},
            "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        }
    ]


def test_annotations_are_sorted_at_the_end_of_the_manifest_as_a_builder_writes_them(
    layer: Layer, tmp_path: Path
) -> None:
    more = {"org.opencontainers.image.title": "a<b", "org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    folder = tmp_path / "layout"
    made = make_image(
        layer, SETTINGS, name="sample", architecture="armhf", epoch=EPOCH, folder=folder, annotations=more
    )
    written = blob_path(folder, made.manifest_digest).read_text()
    assert written == (MANIFEST % (made.config_digest, len(CONFIG), LAYER, len(PACKED))).removesuffix("\n}") + (
        """,
  "annotations": {
    "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
    "org.opencontainers.image.title": "a\\u003cb"
  }
}"""
    )
    assert annotations_of(made) == more


# The same, of an image of two layers: the first CONFIG's, with a file added.
ON_TOP = (
    rb'{"architecture":"arm","config":{"User":"1000:1000","ExposedPorts":{"53/udp":{},"8080/tcp":{},"9/tcp":{}},'
    rb'"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=de_DE.UTF-8","NEW=1",'
    rb'"ZED=a\u003cb\u003e\u0026c"],"Entrypoint":["/bin/other"],'
    rb'"Volumes":{"/cache":{},"/data":{}},"WorkingDir":"/srv",'
    rb'"Labels":{"a":"tab\tdel' + b"\x7f" + rb'bell\u0007back\b","b":"2","title":"other"},'
    rb'"StopSignal":"SIGINT"},"created":"2023-11-14T22:13:21Z","history":[{"created":"2023-11-14T22:13:20Z",'
    rb'"created_by":"baseforge build sample"},{"created":"2023-11-14T22:13:21Z","created_by":"baseforge build top"}],'
    rb'"os":"linux","rootfs":{"type":"layers","diff_ids":['
    b'"' + DIFF_ID.encode() + b'","' + b"%b" + b'"]},"variant":"v7"}'
)


def parent_of(made: Image) -> BaseImage:
    """An image as one that another is laid on."""
    return BaseImage(made.layers, json.loads(blob_path(made.layout, made.config_digest).read_bytes()))


def on_top(layer: Layer, tmp_path: Path, settings: ImageSettings, below: ImageSettings = SETTINGS) -> Image:
    """An image of one layer more."""
    lower = make_image(layer, below, name="sample", architecture="armhf", epoch=EPOCH, folder=tmp_path / "lower")
    upper = layer_of({"new": b"new"}, tmp_path / "upper.tar.zst")
    more: dict[str, Any] = {"name": "top", "architecture": "armhf", "epoch": EPOCH + 1, "folder": tmp_path / "layout"}
    return make_image(upper, settings, base_image=parent_of(lower), **more)


def test_a_layer_keeps_the_settings_of_its_base_image(layer: Layer, tmp_path: Path) -> None:
    settings = ImageSettings(
        entrypoint=("/bin/other",),
        env={"NEW": "1", "LANG": "de_DE.UTF-8"},
        labels={"b": "2", "title": "other"},
        expose=("9",),
    )
    made = on_top(layer, tmp_path, settings)
    assert blob_path(made.layout, made.config_digest).read_bytes() == ON_TOP.replace(b"%b", made.layer.diff_id.encode())
    manifest = json.loads(blob_path(made.layout, made.manifest_digest).read_bytes())
    assert [each["digest"] for each in manifest["layers"]] == [LAYER, made.layer.digest]
    sizes = [each["size"] for each in (manifest["config"], *manifest["layers"])]
    assert made.size == blob_path(made.layout, made.manifest_digest).stat().st_size + sum(sizes)
    assert [each.path for each in made.layers] == [blob_path(made.layout, each.digest) for each in made.layers]
    assert all(each.path.is_file() for each in made.layers)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (["/bin/app"], ["serve", "--all"])),
        ({"cmd": ("x",)}, (["/bin/app"], ["x"])),
        ({"entrypoint": ("/y",)}, (["/y"], None)),
        ({"entrypoint": ("/y",), "cmd": ("x",)}, (["/y"], ["x"])),
    ],
)
def test_an_entry_point_of_ones_own_does_not_get_the_parents_arguments(
    own: dict[str, Any], expected: tuple[list[str], list[str] | None], layer: Layer, tmp_path: Path
) -> None:
    made = on_top(layer, tmp_path, ImageSettings(**own))
    said = json.loads(blob_path(made.layout, made.config_digest).read_bytes())["config"]
    assert (said["Entrypoint"], said.get("Cmd")) == expected


def test_the_parents_path_stays(layer: Layer, tmp_path: Path) -> None:
    made = on_top(layer, tmp_path, ImageSettings(env={"A": "1"}), below=ImageSettings(env={"PATH": "/p"}))
    said = json.loads(blob_path(made.layout, made.config_digest).read_bytes())["config"]
    assert said["Env"] == ["PATH=/p", "A=1"]


def test_two_layers_may_be_the_same(layer: Layer, tmp_path: Path) -> None:
    lower = make_image(layer, SETTINGS, name="x", architecture="amd64", epoch=0, folder=tmp_path / "lower")
    more: dict[str, Any] = {"name": "y", "architecture": "amd64", "epoch": 0, "folder": tmp_path / "layout"}
    made = make_image(layer, SETTINGS, base_image=parent_of(lower), **more)
    assert [each.digest for each in made.layers] == [LAYER, LAYER]


def test_unset_fields_are_not_written(layer: Layer, tmp_path: Path) -> None:
    made = make_image(layer, ImageSettings(), name="x", architecture="amd64", epoch=0, folder=tmp_path / "layout")
    config = json.loads(blob_path(made.layout, made.config_digest).read_bytes())
    assert list(config) == ["architecture", "config", "created", "history", "os", "rootfs"]
    assert list(config["config"]) == ["Env"]
    assert config["created"] == "1970-01-01T00:00:00Z"


def test_a_path_of_ones_own_stays_and_comes_first(layer: Layer, tmp_path: Path) -> None:
    settings = ImageSettings(env={"A": "1", "PATH": "/only"})
    made = make_image(layer, settings, name="x", architecture="amd64", epoch=0, folder=tmp_path / "layout")
    config = json.loads(blob_path(made.layout, made.config_digest).read_bytes())
    assert config["config"]["Env"] == ["PATH=/only", "A=1"]


def test_the_order_of_keys_in_a_recipe_means_nothing(layer: Layer, tmp_path: Path) -> None:
    one = ImageSettings(
        env={"A": "1", "B": "2"}, labels={"x": "1", "y": "2"}, volumes=("/a", "/b"), expose=("1", "2/tcp")
    )
    two = ImageSettings(
        env={"B": "2", "A": "1"}, labels={"y": "2", "x": "1"}, volumes=("/b", "/a"), expose=("2", "1/tcp")
    )
    digests = {
        make_image(layer, settings, name="x", architecture="amd64", epoch=0, folder=tmp_path / name).manifest_digest
        for name, settings in (("one", one), ("two", two))
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("debian", "platform"),
    [
        ("amd64", {"architecture": "amd64", "os": "linux"}),
        ("arm64", {"architecture": "arm64", "os": "linux"}),
        ("armel", {"architecture": "arm", "os": "linux", "variant": "v5"}),
        ("i386", {"architecture": "386", "os": "linux"}),
        ("ppc64el", {"architecture": "ppc64le", "os": "linux"}),
        ("mips64el", {"architecture": "mips64le", "os": "linux"}),
        ("riscv64", {"architecture": "riscv64", "os": "linux"}),
    ],
)
def test_debian_architectures_have_oci_names(
    debian: str, platform: dict[str, str], layer: Layer, tmp_path: Path
) -> None:
    made = make_image(layer, ImageSettings(), name="x", architecture=debian, epoch=0, folder=tmp_path / "layout")
    assert json.loads((made.layout / "index.json").read_text())["manifests"][0]["platform"] == platform
    config = json.loads(blob_path(made.layout, made.config_digest).read_bytes())
    assert {key: config[key] for key in ("architecture", "os", "variant") if key in config} == platform


def test_an_unknown_architecture_leaves_nothing(layer: Layer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'amd46'(?s:.*)'amd64'"):
        make_image(layer, ImageSettings(), name="x", architecture="amd46", epoch=0, folder=tmp_path / "layout")
    assert not (tmp_path / "layout").exists()


def test_the_layer_is_not_copied(tmp_path: Path) -> None:
    made = image_of({"a": b"1"}, tmp_path)
    assert made.layer.path.samefile(tmp_path / "layer.tar.zst")
    assert made.layer.path == blob_path(made.layout, made.layer.digest)
    (tmp_path / "layer.tar.zst").unlink()
    with made.open_blob(made.layer.digest) as stream:
        assert len(stream.read()) == made.layer.size


def test_the_layer_is_copied_from_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    layer = layer_of({"a": b"1"}, tmp_path / "layer")
    made = make_image(layer, ImageSettings(), name="x", architecture="amd64", epoch=0, folder=tmp_path / "layout")
    assert made.layer.path.read_bytes() == layer.path.read_bytes()
    assert not made.layer.path.samefile(layer.path)


def test_a_full_disk_is_not_taken_for_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(OSError, match="No space"):
        image_of({"a": b"1"}, tmp_path)


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.integers(0, 2**53)))
def test_json_is_written_as_go_writes_it(value: dict[str, object]) -> None:
    written = encoded(value)
    assert json.loads(written) == value
    assert not set("<>&\u2028\u2029") & set(written.decode())
