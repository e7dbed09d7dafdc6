"""Small layers and images for tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import zstandard

from flows.image.oci import BaseImage, Image, make_image
from rootfs.layer.pack import Layer
from rootfs.recipe.sections import ImageSettings

EPOCH = 1_700_000_000  # 2023-11-14T22:13:20Z


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar of executable files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def members(pieces: Iterable[bytes]) -> dict[str, bytes]:
    """What a tar program finds in the stream."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}


def layer_of(files: dict[str, bytes], path: Path) -> Layer:
    """A layer of these files, in a zstd file at `path`."""
    tar = tar_of(files)
    packed = zstandard.ZstdCompressor(level=3, threads=1, write_checksum=True).compress(tar)
    path.write_bytes(packed)
    return Layer(path, _digest(packed), _digest(tar), len(packed), len(tar))


def image_of(
    files: dict[str, bytes],
    folder: Path,
    settings: ImageSettings | None = None,
    name: str = "sample",
    architecture: str = "amd64",
    annotations: dict[str, str] | None = None,
) -> Image:
    """An image of these files in `folder`/layout."""
    folder.mkdir(parents=True, exist_ok=True)
    layer = layer_of(files, folder / "layer.tar.zst")
    return make_image(
        layer,
        settings or ImageSettings(),
        name=name,
        architecture=architecture,
        epoch=EPOCH,
        folder=folder / "layout",
        annotations=annotations,
    )


def layered(
    lower: dict[str, bytes], upper: dict[str, bytes], folder: Path, settings: ImageSettings | None = None
) -> Image:
    """An image of two layers in `folder`/layout; the settings are those of the one below."""
    below = image_of(lower, folder / "below", settings)
    with below.open_blob(below.config_digest) as config:
        parent = BaseImage(below.layers, json.load(config))
    layer = layer_of(upper, folder / "upper.tar.zst")
    more = {"name": "sample", "architecture": "amd64", "epoch": EPOCH, "folder": folder / "layout"}
    return make_image(layer, ImageSettings(), base_image=parent, **more)  # type: ignore[arg-type]


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
