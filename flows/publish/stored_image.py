"""Write images of a store to a folder as OCI layouts, to be sent to builders, engines and registries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.image.archives import uncompressed_file
from flows.image.oci import LAYOUT_FILE, Image, blob_path, layout_index
from flows.store.store import Store
from rootfs.layer.pack import Layer
from rootfs.system.platforms import platform_of


def write_layout(store: Store, name: str, manifest_digest: str, architecture: str, layout: Path) -> Image:
    """Write an image to the new folder `layout` as an OCI layout. `architecture` is Debian's name.

    Raises BlobMissing, BlobDamaged, LayerDamaged.
    """
    blob_path(layout, manifest_digest).parent.mkdir(parents=True)
    manifest = _document(store, manifest_digest, layout)
    config = _document(store, manifest["config"]["digest"], layout)
    layers = [
        _fetched(store, descriptor, diff_id, layout)
        for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
    ]
    data = blob_path(layout, manifest_digest).read_bytes()
    (layout / "oci-layout").write_bytes(LAYOUT_FILE)
    names = {"org.opencontainers.image.ref.name": name}
    (layout / "index.json").write_bytes(layout_index(data, platform_of(architecture), names))
    return Image(
        name=name,
        layout=layout,
        manifest_digest=manifest_digest,
        config_digest=manifest["config"]["digest"],
        layer=layers[-1],
        architecture=architecture,
        size=len(data) + manifest["config"]["size"] + sum(layer.size for layer in layers),
        base_layers=tuple(layers[:-1]),
    )


def _document(store: Store, digest: str, layout: Path) -> dict[str, Any]:
    path = blob_path(layout, digest)
    store.fetch_blob(digest, path)
    return dict(json.loads(path.read_bytes()))


def _fetched(store: Store, descriptor: dict[str, Any], diff_id: str, layout: Path) -> Layer:
    path = blob_path(layout, descriptor["digest"])
    store.fetch_blob(descriptor["digest"], path)
    return Layer(path, descriptor["digest"], diff_id, descriptor["size"], sum(map(len, uncompressed_file(path))))
