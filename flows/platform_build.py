"""The build of an image for one platform: from its inputs to an image in the engine that has passed its tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows import dockerfile_build
from flows.builder_tasks import builder_of, import_image, with_builder
from flows.builders import image_import
from flows.builders.engine import Engine
from flows.builders.select import SelectedBuilder
from flows.image.oci import Image
from flows.inputs.base_images import Foundation, size_of
from flows.inputs.resolve import ImageInputs, Inputs, recipe_places
from flows.publish.record import BaseImageBuild, Record, SmokeCounts, UsedBuilder
from flows.runtime.context import BuildContext, Context
from flows.runtime.leftovers import remove_leftovers
from flows.runtime.workdir import empty_folder, note_image, size_of_work, tree_folder, work_folder
from flows.tasks import (
    PackedLayer,
    assemble,
    check_build_state,
    check_linkage,
    check_signature,
    check_start,
    fetch,
    fetch_base_image,
    make_tree,
    pack_layer,
    run_smoke_tests,
)
from rootfs.lock.lock import Lock
from rootfs.process import host
from rootfs.recipe.base import Recipe
from rootfs.recipe.scratch import ALL_LINKED


@dataclass(frozen=True)
class Workspace:
    """Where a run builds: its work folder, a folder for trees, perhaps in memory, and the selected builder.

    `undo` is done when the run ends.
    """

    folder: Path
    trees: Path
    engine: Engine
    builder: SelectedBuilder
    undo: ExitStack

    def expect(self, image: Image) -> str:
        """The id that the image will have in the engine. When the run ends, an image without a name is removed."""
        image_id = self.engine.image_id(image)
        if self.engine.inspect(image_id) is None:
            note_image(self.folder, image_id)
            self.undo.callback(image_import.discard, self.engine, [image_id])  # which keeps an image that has a name
        return image_id


@contextmanager
def workspace(ctx: BuildContext, inputs: ImageInputs) -> Iterator[Workspace]:
    """A clean workspace for all platforms. Raises MachineError, and what builders and the engine raise."""
    builder = ctx.builder(ctx.options.builder, inputs.recipe.builder)
    remove_leftovers(ctx.settings.places)
    ctx.store.sweep()
    engine = ctx.engine()
    for each in inputs.platforms:
        require_emulation(each, engine)
    with ExitStack() as undo:
        size = sum(size_of_build(ctx, each.lock, each.base) for each in inputs.platforms)
        folder, trees = undo.enter_context(work_folders(ctx, size))
        yield Workspace(folder, trees, engine, builder, undo)


@contextmanager
def work_folders(ctx: Context, size: int) -> Iterator[tuple[Path, Path]]:
    """The run's work folder, and a folder for trees of so many bytes: in memory where there is room for them."""
    with (
        work_folder(ctx.settings.work, ctx.run_id) as folder,
        tree_folder(ctx.settings.memory, size, folder, ctx.run_id) as trees,
    ):
        yield folder, trees


def size_of_build(ctx: Context, lock: Lock, base: BaseImageBuild | None) -> int:
    """The most bytes that trees and debs of a build take, for one platform."""
    return size_of_work(lock, size_of(ctx.store, base))


def require_emulation(inputs: Inputs, engine: Engine | None) -> None:
    """Check that the image's programs can run where they have to: here, or in an engine here. Raises MachineError.

    An image that is only unpacked and not tested needs no emulation.
    """
    if why := inputs.recipe.runs_programs:
        of = {inputs.architecture, *(package.architecture for package in inputs.lock.packages)} - {"all"}
        for architecture in sorted(of):
            host.require_emulation(inputs.recipe.name, architecture, why)
    elif inputs.recipe.smoke and engine and engine.local:
        host.require_emulation(inputs.recipe.name, inputs.architecture, "its smoke checks have to run")


@dataclass(frozen=True)
class PlatformImage:
    """An image for one platform that is in the engine and has passed its tests."""

    inputs: Inputs
    image: Image
    image_id: str
    packed: PackedLayer
    record: Record


def build_platform(ctx: BuildContext, inputs: Inputs, work: Workspace) -> PlatformImage:
    """Build the image for one platform, import it through the selected builder, and test it."""
    folder = empty_folder(work.trees / inputs.architecture)
    packed, foundation = make_layer(ctx, inputs, work.builder, folder)
    check_linkage(ctx, inputs, packed)
    check_build_state(ctx, inputs, packed)
    start = check_start(ctx, inputs, packed, foundation)
    image = assemble(ctx, inputs, packed, folder / "layout", foundation)
    image_id = work.expect(image)
    _, builder = with_builder(ctx, work.builder, lambda lease: import_image(ctx, image, builder_of(ctx, lease)))
    ctx.reached("built")
    smoke = run_smoke_tests(ctx, inputs, image_id, folder, start)
    ctx.reached("tested")
    return PlatformImage(inputs, image, image_id, packed, describe(ctx, inputs, image, packed, builder, smoke))


def make_layer(
    ctx: BuildContext, inputs: Inputs, builder: SelectedBuilder, folder: Path
) -> tuple[PackedLayer, Foundation | None]:
    """Make the image's own layer. Also returns what the image is assembled on, if it has a base image."""
    if make_layers := dockerfile_build.LAYER_MAKERS.get(inputs.recipe.kind):
        return make_layers(ctx, inputs, builder, folder)
    foundation = fetch_base_image(ctx, inputs.base, folder) if inputs.base else None
    with recipe_places(inputs.lineage, inputs.folders), ExitStack() as running:
        debs = fetch(ctx, inputs, folder)
        if (tarball := inputs.recipe.tarball) and tarball.signature:
            check_signature(ctx, inputs, tarball, debs)
        members = make_tree(ctx, inputs, debs, folder, running, foundation=foundation)
        return pack_layer(ctx, inputs, members, folder, running, foundation=foundation), foundation


LOOK_AROUND = ("ls", "/")  # in an image for debugging whose only own check prints nothing


def example(recipe: Recipe) -> tuple[str, ...] | None:
    """A command that shows that the image runs: that of a check, or its own (empty); None if it has nothing to run."""
    runs = (check.run for check in recipe.smoke if not check.brings)
    run = next(runs, () if recipe.image.cmd or recipe.image.entrypoint else None)
    return LOOK_AROUND if run and run[-1] == ALL_LINKED else run


def describe(
    ctx: BuildContext, inputs: Inputs, image: Image, packed: PackedLayer, builder: UsedBuilder, smoke: SmokeCounts
) -> Record:
    """The record of a build for one platform, without its duration and where it is published."""
    return Record(
        image=inputs.recipe.name,
        build=ctx.build,
        status="published",
        platforms=(inputs.platform,),
        input_digest=inputs.digest,
        recipe_digest=inputs.recipe_digest,
        lock=inputs.lock,
        lock_digest=inputs.lock.digest,
        tools=inputs.tools,
        parent=inputs.base,
        bases=inputs.bases,
        manifest_digest=image.manifest_digest,
        config_digest=image.config_digest,
        layer_digest=packed.layer.digest,
        diff_id=packed.layer.diff_id,
        size=image.size,
        unpacked=sum(each.unpacked for each in image.layers),
        packages=len(packed.packages),
        distribution=packed.distribution,
        builder=builder,
        smoke=smoke,
        example=example(inputs.recipe),
    )
