"""The images that a Dockerfile is built from: which build each is, and its layout out of the store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flows.image.oci import Image
from flows.inputs.parents import build_below, created, document
from flows.publish import stored_image
from flows.publish.record import ParentBuild
from flows.runtime.context import current
from rootfs.recipe.base import Recipe


def newest(recipe: Recipe, platform: str) -> tuple[ParentBuild, ...]:
    """The builds of its base images for a platform, by name: those of this session, else the newest ones.

    Raises BuildError, InputError.
    """
    return tuple(build_below(recipe.name, name, platform) for name in recipe.base_images)


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
    return stored_image.lay_out(current().store, base.image, base.manifest_digest, architecture, layout)
