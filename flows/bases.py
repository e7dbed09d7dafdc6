"""The images that a Dockerfile is built from: which build each is, and its layout out of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.image.oci import LAYOUT_FILE, Image, blob_path, index
from flows.image.unpack import plain
from flows.parents import build_below, created, document
from flows.publish.record import ParentBuild
from flows.session import current
from rootfs.dockerfile import DockerfileRecipe
from rootfs.pack import Layer
from rootfs.platforms import platform_of


def newest(recipe: DockerfileRecipe, platform: str) -> tuple[ParentBuild, ...]:
    """The builds that its contexts mean for a platform, by name: those of this session, else the newest ones.

    Raises ParentFailed, ParentUnpublished, ParentLacksPlatform.
    """
    return tuple(build_below(recipe.name, name, platform) for name in sorted(set(recipe.contexts.values())))


def newest_epoch(bases: Iterable[ParentBuild]) -> int:
    """When the newest of these was created, in seconds since 1970; 0 where there is none.

    Raises BlobMissing, BlobDamaged.
    """
    store = current().store
    manifests = (document(store, base.manifest_digest) for base in bases)
    return max((created(document(store, each["config"]["digest"])) for each in manifests), default=0)


def lay_out(base: ParentBuild, architecture: str, folder: Path) -> Image:
    """Its image as an OCI layout below `folder`. Raises BlobMissing, BlobDamaged, LayerDamaged."""
    layout = folder / f"base-{base.image}"
    blob_path(layout, base.manifest_digest).parent.mkdir(parents=True)
    manifest = _document(base.manifest_digest, layout)
    config = _document(manifest["config"]["digest"], layout)
    layers = [
        _fetched(said, diff_id, layout)
        for said, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
    ]
    data = blob_path(layout, base.manifest_digest).read_bytes()
    names = {"org.opencontainers.image.ref.name": base.image}
    (layout / "oci-layout").write_bytes(LAYOUT_FILE)
    (layout / "index.json").write_bytes(index(data, platform_of(architecture), names))
    return Image(
        name=base.image,
        layout=layout,
        manifest_digest=base.manifest_digest,
        config_digest=manifest["config"]["digest"],
        layer=layers[-1],
        architecture=architecture,
        size=len(data) + manifest["config"]["size"] + sum(layer.size for layer in layers),
        below=tuple(layers[:-1]),
    )


def _document(digest: str, layout: Path) -> dict[str, Any]:
    path = blob_path(layout, digest)
    current().store.fetch_blob(digest, path)
    return dict(json.loads(path.read_bytes()))


def _fetched(said: dict[str, Any], diff_id: str, layout: Path) -> Layer:
    path = blob_path(layout, said["digest"])
    current().store.fetch_blob(said["digest"], path)
    return Layer(path, said["digest"], diff_id, said["size"], sum(map(len, plain(path))))
