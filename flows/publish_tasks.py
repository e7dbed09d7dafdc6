"""The last steps of a build: images for several platforms become one, which is recorded, published and then named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.image.index import Index, combine_images
from flows.image.oci import Image
from flows.inputs.resolve import ImageInputs
from flows.night.latency import fixes_of, times_of
from flows.orchestration.step import step
from flows.platform_build import PlatformImage
from flows.publish import registry, sources_bundle, stored_builds
from flows.publish.record import Record, SmokeCounts
from flows.published_names import name_build, naming, registry_of
from flows.runtime.context import BuildContext
from flows.runtime.workdir import empty_folder
from rootfs.lock.lockfile import differing_versions
from rootfs.recipe.base_images import lineage_files
from rootfs.system.digests import canonical_json


def join_platforms(
    ctx: BuildContext, inputs: ImageInputs, platforms: Sequence[PlatformImage], folder: Path
) -> tuple[Image | Index, Record]:
    """The image as it is published, and its record: the only platform's, or an index over them all."""
    if len(platforms) == 1:
        return platforms[0].image, platforms[0].record
    index = join_images(ctx, platforms, folder / "index")
    return index, describe_all(inputs, index, [each.record for each in platforms])


@step("join {ctx.image}")
def join_images(ctx: BuildContext, platforms: Sequence[PlatformImage], folder: Path) -> Index:
    """Join the images of all platforms under one index."""
    index = combine_images([each.image for each in platforms], empty_folder(folder))
    ctx.note(index.manifest_digest)
    return index


def describe_all(inputs: ImageInputs, index: Index, parts: Sequence[Record]) -> Record:
    """The record of an image for several platforms, from the records of each."""
    locks = {each.platforms[0]: each.lock for each in parts}
    all_of = Record(image=index.name, status="published", parts=tuple(parts))
    same = ("build", "recipe_digest", "tools", "packages", "distribution", "builder", "example")
    checks = [each.smoke for each in parts if each.smoke]
    return all_of.model_copy(
        update={
            **{name: getattr(all_of.own, name) for name in same},
            "platforms": tuple(locks),
            "input_digest": inputs.digest,
            "manifest_digest": index.manifest_digest,
            "size": index.size,
            "unpacked": sum(each.unpacked for each in parts),
            "smoke": SmokeCounts(
                passed=sum(each.passed for each in checks),
                failed=sum(each.failed for each in checks),
                untested=next((each.untested for each in checks), ""),
            ),
            "versions": differing_versions(locks),
        }
    )


def publish(ctx: BuildContext, image: Image | Index, record: Record, platforms: Sequence[PlatformImage]) -> Record:
    """Publish a build: its blobs, then its record, then its names, so that no name points to something missing.

    If the build is published but not all names could be moved, the error says so.
    """
    pushed = push(ctx, image, platforms)
    published = write_record(ctx, record, platforms, pushed)
    with naming(published):
        name_build(ctx, published)
    return published


@step("publish {ctx.image}", network=True)
def push(ctx: BuildContext, image: Image | Index, platforms: Sequence[PlatformImage]) -> str:
    """Store the blobs, and push the image to the registry by its digest alone; returns the pushed reference.

    Names move only when the record is written: a build exists when its record does.
    """
    for each in platforms:
        stored_builds.keep_blobs(ctx.store, each.image)
    if isinstance(image, Index):
        stored_builds.keep_index(ctx.store, image)
    where = registry_of(ctx)
    return registry.push(image, where, log=ctx.log) if where else ""


@step("record {record.image}", network=True)
def write_record(ctx: BuildContext, record: Record, platforms: Sequence[PlatformImage], pushed: str) -> Record:
    """Write the record, and point `latest` in the store to it: with that the build is published.

    The names in the registry and in the engine follow; see `flows.published_names`.
    """
    store, inputs = ctx.store, platforms[0].inputs
    sources = sources_bundle.keep_sources(store, *lineage_files(inputs.file, inputs.folders), but=inputs.archive)
    inventories = [stored_builds.keep_bytes(store, canonical_json(each.packed.packages)) for each in platforms]
    ctx.reached("published")
    before = stored_builds.latest_readable(store, record.image)
    references = {
        "times": times_of(store, record, before, ctx.timeline.moments),
        "fixes": fixes_of(store, record, before),
        "number": stored_builds.next_number(store, record.image),
        "registry": pushed,
        "inventory": inventories[0] if len(platforms) == 1 else "",
        "ingredients": sources,
        "log": store.put_blob(ctx.log_file),
        "seconds": dict(ctx.timeline.seconds),
        "parts": tuple(
            part.model_copy(update={"inventory": inventory, "ingredients": sources})
            for part, inventory in zip(record.parts, inventories if record.parts else (), strict=True)
        ),
    }
    return stored_builds.publish_record(store, record.model_copy(update=references), "a new build")
