"""The images that another one is made of: which build each means today, and its layout out of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.image.oci import LAYOUT_FILE, blob_path, index, platform_of
from flows.publish import publication
from flows.store import Store
from rootfs.errors import ParentUnpublished


@dataclass(frozen=True)
class Parent:
    """One build of an image that another one is made of; `epoch` is when it says it was created."""

    image: str
    manifest_digest: str
    config_digest: str
    epoch: int


def newest(store: Store, image: str, names: Iterable[str]) -> tuple[Parent, ...]:
    """The newest builds of these recipes, which `image` is made of. Raises ParentUnpublished."""
    found = []
    for name in dict.fromkeys(names):
        record = publication.latest(store, name)
        if record is None:
            raise ParentUnpublished(image, name)
        found.append(known(store, name, record.manifest_digest))
    return tuple(found)


def known(store: Store, name: str, manifest_digest: str) -> Parent:
    """The parent with this manifest. Raises what `open_blob` raises."""
    config_digest = document(store, manifest_digest)["config"]["digest"]
    created = datetime.fromisoformat(document(store, config_digest)["created"])
    return Parent(name, manifest_digest, config_digest, int(created.timestamp()))


def lay_out(store: Store, parent: Parent, architecture: str, folder: Path) -> Path:
    """The parent's image as an OCI layout in `folder`, which must not be there yet, and where it has its own name."""
    blobs = blob_path(folder, parent.manifest_digest).parent
    blobs.mkdir(parents=True)
    manifest = document(store, parent.manifest_digest)
    for each in (parent.manifest_digest, manifest["config"]["digest"], *(one["digest"] for one in manifest["layers"])):
        store.fetch_blob(each, blob_path(folder, each))
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    names = {"org.opencontainers.image.ref.name": parent.image}
    said = index(blob_path(folder, parent.manifest_digest).read_bytes(), platform_of(architecture), names)
    (folder / "index.json").write_bytes(said)
    return folder


def document(store: Store, digest: str) -> dict[str, Any]:
    """A manifest or a config of ours."""
    with store.open_blob(digest) as blob:
        return dict(json.load(blob))
