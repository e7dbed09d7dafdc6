"""The images that a Dockerfile is built from: which build each is, and its layout out of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.image.archive import read_blob
from flows.image.oci import LAYOUT_FILE, Image, blob_path, index, platform_of
from flows.image.unpack import plain
from flows.publish import publication
from flows.publish.record import ParentBuild
from flows.session import current
from rootfs.dockerfile import DockerfileRecipe
from rootfs.errors import ParentFailed, ParentUnpublished
from rootfs.pack import Layer


def newest(recipe: DockerfileRecipe) -> tuple[ParentBuild, ...]:
    """The builds that its contexts mean, by name: those of this session, else the newest ones.

    Raises ParentFailed, ParentUnpublished.
    """
    return tuple(_newest(recipe.name, name) for name in sorted(set(recipe.contexts.values())))


def _newest(image: str, name: str) -> ParentBuild:
    record = current().done.get(name) or publication.latest(current().store, name)
    if record and record.status == "failed":
        raise ParentFailed(image, name)
    if record is None or record.status == "built":
        raise ParentUnpublished(image, name)
    return ParentBuild(image=name, build=record.build, manifest_digest=record.manifest_digest)


def newest_epoch(parents: Iterable[ParentBuild]) -> int:
    """When the newest of these was created, in seconds since 1970; 0 where there is none.

    Raises BlobMissing, BlobDamaged.
    """
    return max(map(_epoch_of, parents), default=0)


def _epoch_of(parent: ParentBuild) -> int:
    """When its image says that it was created, in seconds since 1970. Raises BlobMissing, BlobDamaged."""
    config = _document(_document(parent.manifest_digest)["config"]["digest"])
    return int(datetime.fromisoformat(config["created"]).timestamp())


def lay_out(parent: ParentBuild, architecture: str, folder: Path) -> Image:
    """Its image as an OCI layout below `folder`. Raises BlobMissing, BlobDamaged, LayerDamaged."""
    layout, store = folder / f"base-{parent.image}", current().store
    manifest = _document(parent.manifest_digest)
    config = _document(manifest["config"]["digest"])
    blob_path(layout, parent.manifest_digest).parent.mkdir(parents=True)
    for digest in (parent.manifest_digest, manifest["config"]["digest"]):
        store.fetch_blob(digest, blob_path(layout, digest))
    layers = [
        _fetched(said, diff_id, layout)
        for said, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
    ]
    data = blob_path(layout, parent.manifest_digest).read_bytes()
    names = {"org.opencontainers.image.ref.name": parent.image}
    (layout / "oci-layout").write_bytes(LAYOUT_FILE)
    (layout / "index.json").write_bytes(index(data, platform_of(architecture), names))
    return Image(
        name=parent.image,
        layout=layout,
        manifest_digest=parent.manifest_digest,
        config_digest=manifest["config"]["digest"],
        layer=layers[-1],
        architecture=architecture,
        size=len(data) + manifest["config"]["size"] + sum(layer.size for layer in layers),
        below=tuple(layers[:-1]),
    )


def _fetched(said: dict[str, Any], diff_id: str, layout: Path) -> Layer:
    path = blob_path(layout, said["digest"])
    current().store.fetch_blob(said["digest"], path)
    return Layer(path, said["digest"], diff_id, said["size"], sum(map(len, plain(path))))


def _document(digest: str) -> dict[str, Any]:
    return dict(json.loads(read_blob(current().store, digest)))
