"""The base images of layers and Dockerfiles: which build of each is used, and what the store has of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from flows.image.archives import read_blob, uncompressed_layer
from flows.image.errors import LayerDamaged
from flows.image.oci import BaseImage, Image
from flows.publish import stored_builds, stored_image
from flows.publish.record import BaseImageBuild
from flows.runtime.context import Context
from flows.store.store import Store
from rootfs.apt.resolve_layer import BaseImagePackages
from rootfs.errors import BuildError, InputError
from rootfs.layer.pack import Layer
from rootfs.lock.lock import Lock
from rootfs.recipe.base import Recipe
from rootfs.recipe.sections import ImageSettings
from rootfs.system import atomic_file
from rootfs.system.cache import prune
from rootfs.system.decompression import CorruptStream, DecompressedStream
from rootfs.tree.errors import BadTree
from rootfs.tree.inventory import STATUS, packages_of
from rootfs.tree.member import from_tar
from rootfs.tree.merge import LayerStack

KEPT = 64 << 20  # bytes of the cached dpkg status files of base images


@dataclass(frozen=True)
class Foundation:
    """What an image is assembled on: the layers and settings of a base image, and the tree that they make.

    `build` is the base image's, if a recipe describes it.
    """

    image: BaseImage
    stack: LayerStack
    build: BaseImageBuild | None = None


def base_build(ctx: Context, image: str, base: str, platform: str) -> BaseImageBuild:
    """The build of its base image that an image uses, for a platform: this command's, else the newest one.

    Raises BuildError, InputError.
    """
    record = ctx.results.get(base) or stored_builds.latest_readable(ctx.store, base)
    if record and record.status == "failed":
        raise BuildError(
            f"{image} was not built, because its base image {base} could not be built",
            hint=f"Fix {base}, then build both: baseforge build {image}",
        )
    if record is None or record.status == "built":
        raise InputError(
            f"the store has no current build of {base}, the base image of {image}",
            hint=f"Build it first: baseforge build {base}",
        )
    if (part := record.of(platform)) is None:
        raise InputError(
            f"{image} is for {platform}, but its base image {base} was built only for {', '.join(record.platforms)}",
            hint=f"Name {platform} in the `platforms` of {base}, too: baseforge build {image} builds both.",
        )
    return BaseImageBuild(image=record.image, build=record.build, manifest_digest=part.manifest_digest)


def installed_in(ctx: Context, recipe: Recipe, base: BaseImageBuild) -> BaseImagePackages:
    """What apt has to know of the base image."""
    status = partial(_status, ctx, base.manifest_digest)
    own = recipe.added_packages.repositories if recipe.added_packages else ()
    return BaseImagePackages(recipe.name, base.image, base.manifest_digest, own, status)


def package_names(ctx: Context, lock: Lock, base: BaseImageBuild | None) -> set[str]:
    """The names of the packages of an image: those of its lock, and those that its base image has."""
    names = {package.name for package in lock.packages}
    if base:
        names |= {name.partition(":")[0] for name, _ in packages_of(_status(ctx, base.manifest_digest).read_bytes())}
    return names


def size_of(store: Store, base: BaseImageBuild | None) -> int:
    """Bytes of the base image's compressed layers. Raises BlobMissing, BlobDamaged."""
    return sum(int(layer["size"]) for layer in document(store, base.manifest_digest)["layers"]) if base else 0


def newest_epoch(store: Store, bases: Iterable[BaseImageBuild]) -> int:
    """When the newest of these was created, in seconds since 1970; 0 where there is none.

    Raises BlobMissing, BlobDamaged.
    """
    manifests = (document(store, base.manifest_digest) for base in bases)
    return max((created(document(store, each["config"]["digest"])) for each in manifests), default=0)


def fetch_layout(store: Store, base: BaseImageBuild, architecture: str, folder: Path) -> Image:
    """Fetch a base image as an OCI layout below `folder`. Raises BlobMissing, BlobDamaged, LayerDamaged."""
    return stored_image.write_layout(
        store, base.image, base.manifest_digest, architecture, folder / f"base-{base.image}"
    )


def fetch_layers(store: Store, base: BaseImageBuild, folder: Path) -> Foundation:
    """Fetch an image's layers into an empty folder, unpacked as well. Raises BlobMissing, BlobDamaged, LayerDamaged."""
    manifest = document(store, base.manifest_digest)
    config = document(store, manifest["config"]["digest"])
    layers, tars = [], []
    for number, (layer, diff_id) in enumerate(zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)):
        path, tar = folder / f"{number}.tar.zst", folder / f"{number}.tar"
        store.fetch_blob(layer["digest"], path)
        with tar.open("wb") as file:
            file.writelines(uncompressed_layer(store, layer["digest"], diff_id))
        layers.append(Layer(path, layer["digest"], diff_id, layer["size"], tar.stat().st_size))
        tars.append(tar)
    return Foundation(BaseImage(tuple(layers), config), LayerStack(tuple(tars), created(config)), base)


def created(config: Mapping[str, Any]) -> int:
    """When an image's config says that it was created, in seconds since 1970."""
    return int(datetime.fromisoformat(config["created"]).timestamp())


def epoch_on(foundation: Foundation | None, own: int) -> int:
    """`SOURCE_DATE_EPOCH`: the tree's own, but never before the base image's."""
    return max(own, foundation.stack.epoch if foundation else 0)


def library_path(settings: ImageSettings, foundation: Foundation | None) -> str:
    """Where the linker looks in a container of the image, as its environment says."""
    inherited = foundation.image.config["config"].get("Env") or [] if foundation else []
    environment: dict[str, str] = dict(pair.split("=", 1) for pair in inherited)
    return (environment | settings.env).get("LD_LIBRARY_PATH", "")


def document(store: Store, digest: str) -> dict[str, Any]:
    """A manifest or a config. Raises BlobMissing, BlobDamaged."""
    return dict(json.loads(read_blob(store, digest)))


def _status(ctx: Context, manifest_digest: str) -> Path:
    """dpkg's status file of an image, cached for all images that build on it and for the next night."""
    folder = ctx.cache / "apt/installed"
    path = folder / manifest_digest.removeprefix("sha256:")
    if not path.is_file():
        atomic_file.write_file(path, _read_status(ctx.store, manifest_digest))
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
