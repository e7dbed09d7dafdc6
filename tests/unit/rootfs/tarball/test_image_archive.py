"""What is no root filesystem is refused with what helps; the layers of an image archive become one tree."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rootfs.tarball.errors import TarballRefused
from tests.support.trees import grown

Files = Mapping[str, bytes | None]  # None: a folder


def tar(files: Files) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            info.size, info.mode = len(data or b""), 0o755
            archive.addfile(info, io.BytesIO(data or b""))
    return made.getvalue()


def hard_link(name: str, target: str) -> bytes:
    """A layer with one hard link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.LNKTYPE, target
        archive.addfile(info)
    return made.getvalue()


def blob(data: bytes) -> tuple[str, str]:
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256:{digest}", f"blobs/sha256/{digest}"


def oci(*layers: bytes, architecture: str = "amd64") -> dict[str, bytes | None]:
    """The files of an OCI layout with an index that names an image and an attestation."""
    manifest = json.dumps({"layers": [{"digest": blob(layer)[0]} for layer in layers]}).encode()
    platforms = ({"architecture": architecture, "os": "linux"}, {"architecture": "unknown", "os": "unknown"})
    digests = (blob(manifest)[0], blob(b"attestation")[0])
    named = [{"digest": digest, "platform": platform} for digest, platform in zip(digests, platforms, strict=True)]
    inner = json.dumps({"manifests": named}).encode()
    index = json.dumps({"manifests": [{"digest": blob(inner)[0]}]}).encode()
    blobs = {blob(data)[1]: data for data in (*layers, manifest, inner)}
    return {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index, **blobs}


def saved(*layers: bytes) -> dict[str, bytes | None]:
    """The files that engines before 25 save."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listing = json.dumps([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": names}]).encode()
    return {"manifest.json": listing, "c.json": b"{}", **dict(zip(names, layers, strict=True))}


def tree(files: Files, folder: Path, **keys: Any) -> dict[str, bytes]:
    """The files of the tree that the recipe makes of the archive."""
    with grown(tar(files), folder, **keys) as members:
        return {member.path: member.content.read() if member.content else b"" for member in members if member.is_file}


LOWER = tar({"etc": None, "etc/a": b"1", "etc/gone": b"x", "opt": None, "opt/old": b"y", "bin/sh": b"#!"})
UPPER = tar({"etc/a": b"2", "etc/.wh.gone": b"", "opt/.wh..wh..opq": b"", "opt/new": b"z"})
MERGED = {"bin/sh": b"#!", "etc/a": b"2", "opt/new": b"z"}


@pytest.mark.parametrize("form", [oci, saved])
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_the_layers_of_an_image_become_one_tree(form: Any, packed: Any, tmp_path: Path) -> None:
    assert tree(form(packed(LOWER), packed(UPPER)), tmp_path, archive="image") == MERGED


REFUSED: Mapping[str, tuple[dict[str, bytes | None], dict[str, Any], str]] = {
    "an image archive that nobody asked for": (saved(LOWER), {}, "is an image archive.*--image"),
    "an OCI layout that nobody asked for": (oci(LOWER), {}, "is an image archive.*--image"),
    "a tree below one folder": ({"top/etc/a": b"1", "top/bin/sh": b"x"}, {}, "below the folder 'top'.*--strip 1"),
    "an empty archive": ({}, {}, "it has no files"),
    "everything stripped": ({"a": b"1"}, {"strip": 1}, "it has no files"),
    "no image archive": ({"etc/a": b"1"}, {"archive": "image"}, "neither an index.json nor a manifest.json"),
    "two images": (
        {"manifest.json": json.dumps([{"Layers": []}] * 2).encode()},
        {"archive": "image"},
        "it has 2 images",
    ),
    "another architecture": (oci(LOWER, architecture="s390x"), {"archive": "image"}, "no image for amd64"),
    "a layer that is not there": (
        {"manifest.json": b'[{"Layers": ["a/layer.tar"]}]'},
        {"archive": "image"},
        "it has no a/layer.tar",
    ),
    "a path out of it": ({"manifest.json": b'[{"Layers": ["../../etc/passwd"]}]'}, {"archive": "image"}, "leads out"),
    "a damaged blob": (
        {**oci(LOWER), blob(LOWER)[1]: LOWER + bytes(512)},
        {"archive": "image"},
        "is damaged",
    ),
    "a broken index": ({"oci-layout": b"{}", "index.json": b'{"manifests": 1}'}, {"archive": "image"}, "index.json"),
    "an index of itself": (
        {"oci-layout": b"{}", "index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'},
        {"archive": "image"},
        "not as the specification says",
    ),
    "a hard link to nothing": (saved(hard_link("etc/x", "etc/y")), {"archive": "image"}, "hard link to etc/y"),
    "a layer that leads out": (saved(tar({"../x": b"1"})), {"archive": "image"}, "leads out of the tree"),
    "too many layers": (
        {"manifest.json": json.dumps([{"Layers": ["a/layer.tar"] * 40000}]).encode()},
        {"archive": "image"},
        "has 40000 layers; engines take at most 127",
    ),
    "layers that are too large together": (
        saved(tar({"a": bytes(6000)}), tar({"b": bytes(6000)})),
        {"archive": "image", "largest": 20000},
        "more than 20000 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_root_filesystem_is_refused(name: str, tmp_path: Path) -> None:
    files, keys, said = REFUSED[name]
    with pytest.raises(TarballRefused) as caught:
        tree(files, tmp_path, **keys)
    assert re.search(said, f"{caught.value.message} {caught.value.hint}"), caught.value


def test_strip_drops_folders_of_names_and_of_hard_links(tmp_path: Path) -> None:
    files: Files = {"top": None, "top/etc": None, "top/etc/a": b"1", "other/bin/sh": b"x", "alone": b"y"}
    assert tree(files, tmp_path, strip=1) == {"etc/a": b"1", "bin/sh": b"x"}
