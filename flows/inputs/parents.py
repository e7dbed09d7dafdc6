"""The images that layers are laid on: which build that is, and what the store has of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from flows.config.paths import cache_folder
from flows.image.archives import read_blob, unpacked
from flows.image.errors import LayerDamaged
from flows.image.oci import Parent
from flows.publish import records
from flows.publish.record import ParentBuild
from flows.runtime.context import current
from flows.store.base import Store
from rootfs.apt.resolve_layer import BaseImagePackages
from rootfs.errors import BuildError, InputError
from rootfs.layer.pack import Layer
from rootfs.recipe.base import Recipe
from rootfs.recipe.sections import ImageSettings
from rootfs.system import atomic_file
from rootfs.system.cache import prune
from rootfs.system.compression import CorruptStream, DecompressedStream
from rootfs.tree.errors import BadTree
from rootfs.tree.inventory import STATUS
from rootfs.tree.member import from_tar
from rootfs.tree.merge import Stack

KEPT = 64 << 20  # bytes of dpkg's files of parents' images


@dataclass(frozen=True)
class Ground:
    """What an image is assembled on, and what its tree begins with: a parent's in a work folder, or nothing yet."""

    image: Parent
    stack: Stack


def build_below(image: str, parent: str, platform: str) -> ParentBuild:
    """The build that an image is to stand on, for a platform: that of this session, else the newest one.

    Raises BuildError, InputError.
    """
    record = current().done.get(parent) or records.latest(current().store, parent)
    if record and record.status == "failed":
        raise BuildError(
            f"{image} was not built, because its base image {parent} could not be built",
            hint=f"Fix {parent}, then build both: baseforge build {image}",
        )
    if record is None or record.status == "built":
        raise InputError(
            f"the store has no current build of {parent}, the base image of {image}",
            hint=f"Build it first: baseforge build {parent}",
        )
    if (part := record.of(platform)) is None:
        raise InputError(
            f"{image} is for {platform}, but its base image {parent} was built only for {', '.join(record.platforms)}",
            hint=f"Name {platform} in the `platforms` of {parent}, too: baseforge build {image} builds both.",
        )
    return ParentBuild(image=record.image, build=record.build, manifest_digest=part.manifest_digest)


def below(recipe: Recipe, parent: ParentBuild) -> BaseImagePackages:
    """What apt has to know of the image below."""
    status = partial(_status, current().store, parent.manifest_digest)
    own = recipe.request.repositories if recipe.request else ()
    return BaseImagePackages(recipe.name, parent.image, parent.manifest_digest, own, status)


def size_of(store: Store, parent: ParentBuild) -> int:
    """Bytes of the parent's compressed layers. Raises BlobMissing, BlobDamaged."""
    return sum(int(layer["size"]) for layer in document(store, parent.manifest_digest)["layers"])


def lay_out(store: Store, parent: ParentBuild, folder: Path) -> Ground:
    """Fetch an image's layers into an empty folder, unpacked as well. Raises BlobMissing, BlobDamaged, LayerDamaged."""
    manifest = document(store, parent.manifest_digest)
    config = document(store, manifest["config"]["digest"])
    layers, tars = [], []
    for number, (said, diff_id) in enumerate(zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)):
        path, tar = folder / f"{number}.tar.zst", folder / f"{number}.tar"
        store.fetch_blob(said["digest"], path)
        with tar.open("wb") as file:
            file.writelines(unpacked(store, said["digest"], diff_id))
        layers.append(Layer(path, said["digest"], diff_id, said["size"], tar.stat().st_size))
        tars.append(tar)
    return Ground(Parent(tuple(layers), config), Stack(tuple(tars), created(config)))


def created(config: Mapping[str, Any]) -> int:
    """When an image's config says that it was created, in seconds since 1970."""
    return int(datetime.fromisoformat(config["created"]).timestamp())


def epoch(own: int, ground: Ground | None) -> int:
    """`SOURCE_DATE_EPOCH`: the tree's own, but never before that of the image below."""
    return max(own, ground.stack.epoch if ground else 0)


def library_path(settings: ImageSettings, ground: Ground | None) -> str:
    """Where the linker looks in a container of the image, as its environment says."""
    below = ground.image.config["config"].get("Env") or [] if ground else []
    environment: dict[str, str] = dict(pair.split("=", 1) for pair in below)
    return (environment | settings.env).get("LD_LIBRARY_PATH", "")


def document(store: Store, digest: str) -> dict[str, Any]:
    """A manifest or a config. Raises BlobMissing, BlobDamaged."""
    return dict(json.loads(read_blob(store, digest)))


def _status(store: Store, manifest_digest: str) -> Path:
    """dpkg's status file of an image, kept for all of its children and for the next night."""
    folder = cache_folder() / "apt/installed"
    path = folder / manifest_digest.removeprefix("sha256:")
    if not path.is_file():
        atomic_file.write_file(path, _read_status(store, manifest_digest))
        prune(folder, max_bytes=KEPT)
    return path


def _read_status(store: Store, manifest_digest: str) -> bytes:
    """The file of the highest layer that has one."""
    for layer in reversed(document(store, manifest_digest)["layers"]):
        with store.open_blob(layer["digest"]) as blob:
            try:
                for member in from_tar(cast(IO[bytes], DecompressedStream(blob))):
                    if member.path == STATUS and member.content:
                        return member.content.read()
            except CorruptStream as error:
                raise LayerDamaged(layer["digest"], str(error)) from error
    raise BadTree(f"the image {manifest_digest} has no {STATUS}, so nothing can be installed on it")
