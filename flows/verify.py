"""The flow that rebuilds a build from its record and the pool alone, and compares every digest of the chain."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from flows import dockerfile_build
from flows.build import clean_up
from flows.builder_tasks import leasing
from flows.config.options import BuildOptions
from flows.image.index import IndexEntry, index_entry, index_of
from flows.image.oci import Image
from flows.inputs.base_images import Foundation
from flows.inputs.resolve import Inputs, with_bootstrapper
from flows.orchestration.flow import flow
from flows.orchestration.step import step
from flows.platform_build import require_emulation, size_of_build, work_folders
from flows.publish import integrity, sources_bundle, stored_builds, verification
from flows.publish.errors import NotReproduced
from flows.publish.record import Record
from flows.publish.verification import ExpectedDigests, Link, Verification
from flows.runtime.context import BuildContext, Context, open_build
from flows.runtime.leftovers import remove_leftovers
from flows.runtime.workdir import empty_folder
from flows.tasks import PackedLayer, assemble, fetch, fetch_base_image, make_tree, pack_layer
from rootfs.errors import BaseforgeError, BuildError
from rootfs.lock.lock import tool_versions
from rootfs.recipe.kinds import needs_builder
from rootfs.recipe.recipe import digest_recipe, files_folder, lineage_of, read_recipe
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import architecture_of

BOOTSTRAPPERS: tuple[Literal["mmdebstrap", "debootstrap"], ...] = ("mmdebstrap", "debootstrap")


@flow(name="verify", flow_run_name="{reference} · verify", clean_up=[clean_up])
def verify(ctx: Context, reference: str, against: str = "") -> Verification:
    """Rebuild `IMAGE` or `IMAGE@BUILD` and compare it with its record, or with another image's manifest digest.

    All blobs of the build are read as well: the Verification names those that are missing or damaged.

    No network and no engine is needed: the pool has the packages, and nothing is imported; only a Dockerfile needs its
    builder. Raises NotReproduced, which carries the Verification.
    """
    record = stored_builds.find_build(ctx.store, reference)
    with open_build(ctx, record.image, BuildOptions(offline=True)) as build_ctx, leasing(build_ctx) as leased:
        damage = read_blobs(leased, record)
        found = rebuild(leased, record, against).model_copy(update={"damage": tuple(map(str, damage))})
    if found.status in ("differs", "damaged"):
        raise NotReproduced(f"{record.image}@{record.build}", found.ending, found.model_dump_json())
    return found


def run_verify(ctx: Context, reference: str, against: str = "") -> Verification:
    """Run the flow in this process, and return the Verification even if the image differs."""
    try:
        return verify.run_in(ctx, reference, against)
    except NotReproduced as failed:
        return Verification.model_validate_json(failed.verdict)


@step("read {record.image}", network=True)
def read_blobs(ctx: BuildContext, record: Record) -> list[BaseforgeError]:
    """Read every blob of the build; returns an error for each that is missing or damaged."""
    damage = integrity.find_damage(ctx.store, record, read=True)
    ctx.note(f"{len(damage)} blobs missing or damaged" if damage else "all blobs are there")
    return damage


def rebuild(ctx: BuildContext, record: Record, against: str) -> Verification:
    """Rebuild the image for each of its platforms, and the index over them."""
    if not record.parts:
        return rebuild_platform(ctx, record, verification.expected_digests(ctx.store, record, against))[0]
    found = [rebuild_platform(ctx, part, verification.expected_digests(ctx.store, part)) for part in record.parts]
    manifests = [entry for _, entry in found if entry]
    index = digest_of_bytes(index_of(manifests)) if len(manifests) == len(found) else ""
    return verification.combine(
        record, [one for one, _ in found], verification.parse_digest(against) or record.index, index
    )


def rebuild_platform(
    ctx: BuildContext, record: Record, expected: ExpectedDigests
) -> tuple[Verification, IndexEntry | None]:
    """Rebuild the image for one platform, with nothing of an earlier build but the pool, and compare it.

    Also returns the image as an index lists it; None if the image cannot be rebuilt.
    """
    remove_leftovers(ctx.settings.places)
    with work_folders(ctx, size_of_build(ctx, record.lock, record.parent)) as (_, folder):
        inputs = recall(ctx, record, empty_folder(folder / "recipe"))
        require_emulation(inputs, None)
        found = replace(inputs, tools=record.tools)
        result = Verification(
            image=record.image,
            build=record.build,
            links=inputs_of(record, found),
            tools=verification.compare_tools(record.tools, inputs.tools),
            no_because=inputs.recipe.no_because,
        )
        foundation: Foundation | None
        if needs_builder(inputs.recipe):
            if result.no_because:
                return result, None
            packed, foundation = rebuild_with_builder(ctx, inputs, folder)
        else:
            debs = fetch(ctx, inputs, folder)
            found = replace(found, lock=verification.lock_of_files(record.lock, debs))
            packed, foundation = rebuild_from_pool(ctx, inputs, debs, folder)
        image = assemble(ctx, inputs, packed, folder / "layout", foundation)
        differences = compare(ctx, image, expected, empty_folder(folder / "compare"))
        update = {
            "links": (*inputs_of(record, found), *expected.links(image)),
            "differences": tuple(differences[: verification.SHOWN]),
            "different": len(differences),
            "seconds": dict(ctx.timeline.seconds),
        }
        return result.model_copy(update=update), index_entry(image)


def rebuild_from_pool(
    ctx: BuildContext, inputs: Inputs, debs: Path, folder: Path
) -> tuple[PackedLayer, Foundation | None]:
    """Rebuild a layer from packages, or a tarball, without any cache."""
    foundation = fetch_base_image(ctx, inputs.base, folder) if inputs.base else None
    with ExitStack() as running:
        members = make_tree(ctx, inputs, debs, folder, running, foundation=foundation, use_cache=False)
        packed = pack_layer(ctx, inputs, members, folder, running, foundation=foundation, use_cache=False)
    return packed, foundation


def rebuild_with_builder(ctx: BuildContext, inputs: Inputs, folder: Path) -> tuple[PackedLayer, Foundation]:
    """Rebuild a layer that a builder makes: with the one that is selected today, without its cache."""
    builder = ctx.builder("", inputs.recipe.builder)
    return dockerfile_build.LAYER_MAKERS[inputs.recipe.kind](ctx, inputs, builder, folder, use_cache=False)


@step("recall {record.image}", network=True)
def recall(ctx: BuildContext, record: Record, folder: Path) -> Inputs:
    """Read what the build was made of: its recipe as it was then, and its lock. Raises BuildError."""
    if not record.ingredients:
        raise BuildError(
            f"the record of {record.image}@{record.build} has no ingredients: an older Baseforge did not store them",
            hint=f"`baseforge build {record.image} --force` makes a build that can be verified.",
        )
    file = sources_bundle.unpack_sources(ctx.store, record.ingredients, folder)
    used = next((name for name in BOOTSTRAPPERS if name in record.tools), None)
    recipe = with_bootstrapper(read_recipe(file, record.image, pooled=True), BuildOptions(engine=used))
    return Inputs(
        recipe=recipe,
        file=file,
        architecture=architecture_of(record.platforms[0]),
        newest=record.lock,
        lock=record.lock,
        tools=tool_versions(recipe, ctx.settings.toolchains),
        recipe_digest=digest_recipe(recipe, files_folder(file)),
        lineage=lineage_of(recipe, file),
        base=record.parent,
        bases=record.bases,
    )


def inputs_of(record: Record, found: Inputs) -> tuple[Link, ...]:
    """The first links, up to the input digest. `found` has the recorded tools: the others are compared separately."""
    return (
        Link(name="recipe", recorded=record.recipe_digest, found=found.recipe_digest),
        Link(name="lock", recorded=record.lock_digest, found=found.lock.digest),
        Link(name="input", recorded=record.input_digest, found=found.digest),
    )


@step("compare {image.name}", network=True)
def compare(ctx: BuildContext, image: Image, expected: ExpectedDigests, folder: Path) -> list[str]:
    """Compare the image with the recorded one, member by member. Equal digests mean that nothing differs."""
    differences = verification.differences(ctx.store, expected, image, folder, ctx.log)
    ctx.note(f"{len(differences)} differences" if differences else "the same")
    return differences
