"""The layer of a Dockerfile recipe: built by the selected builder, then normalized and packed as every other tree."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

from flows.builder_tasks import with_builder
from flows.builders import buildx_build, secrets
from flows.builders.buildx_build import BuildRequest, BuildResult
from flows.builders.errors import dockerfile_unfit
from flows.builders.lifecycle import Lease
from flows.builders.listing import ENGINE
from flows.builders.select import SelectedBuilder
from flows.image.archives import read_blob, uncompressed_file
from flows.image.oci import BaseImage, Image
from flows.inputs.base_images import Foundation, fetch_layout, library_path, newest_epoch
from flows.inputs.resolve import Inputs
from flows.orchestration.step import step
from flows.runtime.context import BuildContext
from flows.runtime.workdir import empty_folder
from flows.tasks import PackedLayer, frame_cache, pack_layer
from rootfs.checks.build_state import BuildState
from rootfs.checks.startup import StartCheck
from rootfs.elf.linkage import LinkageCheck
from rootfs.layer.pack import pack_tar
from rootfs.recipe.dockerfile import DockerfileRecipe
from rootfs.system.digests import canonical_json
from rootfs.system.disk import disk_full
from rootfs.system.source_tree import copy_normalized
from rootfs.system.text import format_size
from rootfs.tree.inventory import Inventory
from rootfs.tree.member import Members
from rootfs.tree.merge import FOLDER, LayerStack, MergedTree, members_of, merge_layers

AGENT = "SSH_AUTH_SOCK"


@step("collect {inputs.recipe.name}", network=True)
def collect(
    ctx: BuildContext, inputs: Inputs, recipe: DockerfileRecipe, folder: Path, epoch: int, *, use_cache: bool
) -> BuildRequest:
    """Collect what the builder gets: a copy of the recipe's folder, the base images, the site's secrets.

    Raises MachineError.
    """
    site = ctx.settings
    place = empty_folder(folder / "dockerfile")
    copy_normalized(inputs.files, place / "context", epoch)
    images = {each.image: fetch_layout(ctx.store, each, inputs.architecture, place) for each in inputs.bases}
    keys = {name: site.ssh[name] for name in recipe.ssh if name in site.ssh}
    if "default" in recipe.ssh and "default" not in keys and os.environ.get(AGENT):
        keys["default"] = Path(os.environ[AGENT])
    return BuildRequest(
        context=place / "context",
        dockerfile=recipe.dockerfile,
        shown=inputs.files / recipe.dockerfile,
        platform=inputs.platform,
        epoch=epoch,
        target=recipe.target,
        args=recipe.args,
        base_images={name: images[image] for name, image in recipe.contexts.items()},
        secrets=secrets.read_secrets(recipe.name, recipe.secrets, site.secrets),
        ssh={name: secrets.site_file(recipe.name, "ssh", name, keys) for name in recipe.ssh},
        online=recipe.online,
        without_cache=not use_cache,
    )


@step("dockerfile {recipe.name} ({lease.taken.driver})")
def build(ctx: BuildContext, recipe: DockerfileRecipe, order: BuildRequest, lease: Lease) -> BuildResult:
    """Build the Dockerfile. Raises BuildError, InputError, BuilderFailed."""
    folder, builder = empty_folder(order.context.with_name("built")), lease.taken
    if builder.driver == ENGINE:
        if recipe.layers == "kept":
            what = "an engine's own BuildKit cannot set the times in layers that are to be `kept`"
            raise dockerfile_unfit(recipe.name, what, "Choose a builder of another driver, or `layers: shared`.")
        made = buildx_build.build_in_engine(order, builder.name, ctx.engine(), ctx.run_id, folder, ctx.log)
    else:
        made = buildx_build.build_with_builder(order, builder.name, builder.driver, folder, ctx.log)
    check_fit(recipe.name, made)
    list(order.secrets.watched([canonical_json(made.config)], "the image's settings"))
    ctx.note(f"{len(made.layers)} layers")
    return made


def check_fit(image: str, made: BuildResult) -> None:
    """Check that the result can become an image of ours. Raises InputError."""
    if made.config["config"].get("OnBuild"):  # the builder that imports the image would run it
        what = "its Dockerfile has ONBUILD, which the OCI image specification does not know"
        raise dockerfile_unfit(image, what, "Write the instructions into the Dockerfiles that build on it.")
    if not made.layers:
        raise dockerfile_unfit(image, "its Dockerfile makes no file at all", "COPY or ADD something.")


def make_layers(
    ctx: BuildContext, inputs: Inputs, builder: SelectedBuilder, folder: Path, *, use_cache: bool = True
) -> tuple[PackedLayer, Foundation]:
    """Build the Dockerfile with the selected builder: one normalized layer, or the highest of its own layers.

    Also returns what the image is assembled on: the Dockerfile's settings, and the lower layers, which are those of the
    base image where they are `shared`. Without the cache nothing of an earlier build is used.
    """
    recipe = cast(DockerfileRecipe, inputs.recipe)  # as LAYER_MAKERS says
    epoch = newest_epoch(ctx.store, inputs.bases)
    order = collect(ctx, inputs, recipe, folder, epoch, use_cache=use_cache)
    built, _ = with_builder(ctx, builder, lambda lease: build(ctx, recipe, order, lease))
    tars = unpack_layers(order, built, folder)
    base = base_of(order, built)
    named = next((each for each in inputs.bases if base and each.image == base.name), None)
    if recipe.layers == "kept":
        packed, foundation = keep_layers(ctx, inputs, order, built, tars, use_cache=use_cache)
        return packed, replace(foundation, build=named)
    foundation = replace(shared_layers(base if recipe.layers == "shared" else None, built, tars, epoch), build=named)
    with ExitStack() as running:
        members = rooted(running.enter_context(merge_layers(tars)), epoch)
        packed = pack_layer(ctx, inputs, members, folder, running, foundation=foundation, use_cache=use_cache)
    return packed, foundation


def base_of(order: BuildRequest, built: BuildResult) -> Image | None:
    """The base image that the result begins with: the one with the most layers; None where it has none of theirs."""
    found = built.config["rootfs"]["diff_ids"]
    fitting = [
        image
        for image in order.base_images.values()
        if found[: len(image.layers)] == [layer.diff_id for layer in image.layers]
    ]
    return max(fitting, key=lambda image: len(image.layers), default=None)


def shared_layers(base: Image | None, built: BuildResult, tars: list[Path], epoch: int) -> Foundation:
    """What the image is assembled on: the Dockerfile's settings, and the base image's layers and history, if any."""
    config = {"config": built.config["config"]}
    if base is None:
        return Foundation(BaseImage(config=config), LayerStack((), epoch))
    history = json.loads(read_blob(base, base.config_digest)).get("history") or []
    lower = LayerStack(tuple(tars[: len(base.layers)]), epoch)
    return Foundation(BaseImage(base.layers, {**config, "history": history}), lower)


def rooted(tree: MergedTree, epoch: int) -> Members:
    """The members of a tree, which has a root folder of the time `epoch` at least."""
    yield replace(tree[FOLDER.path].head if FOLDER.path in tree else FOLDER, mtime=epoch)
    yield from (member for member in members_of(tree) if member.path != FOLDER.path)


@step("pack {inputs.label}")
def keep_layers(
    ctx: BuildContext, inputs: Inputs, order: BuildRequest, built: BuildResult, tars: list[Path], *, use_cache: bool
) -> tuple[PackedLayer, Foundation]:
    """Keep the Dockerfile's own layers, each tar as it is. Those of base images are reused, others compressed."""
    cache = frame_cache(ctx, use_cache=use_cache)
    existing = {layer.diff_id: layer for image in order.base_images.values() for layer in image.layers}
    diff_ids = built.config["rootfs"]["diff_ids"]
    layers = [
        existing.get(diff_id) or pack_tar(tar, tar.with_suffix(".tar.zst"), frame_cache=cache)
        for tar, diff_id in zip(tars, diff_ids, strict=True)
    ]
    foundation = Foundation(BaseImage(tuple(layers[:-1]), built.config), LayerStack(tuple(tars[:-1]), order.epoch))
    inventory, start, linkage = Inventory(), StartCheck(), LinkageCheck(library_path(inputs.recipe.image, foundation))
    state = BuildState(order.epoch)
    with merge_layers(tars) as tree:
        for _ in linkage.observe(start.observe(inventory.observe(state.observe(members_of(tree))))):
            pass
    ctx.note(f"{format_size(sum(layer.unpacked for layer in layers))} in {len(layers)} layers")
    packed = PackedLayer(layers[-1], inventory.packages(), linkage, state, start, inventory.distribution, order.epoch)
    return packed, foundation


def unpack_layers(order: BuildRequest, built: BuildResult, place: Path) -> list[Path]:
    """Unpack the layers to plain tars. Raises BuildError with the instruction that has made one, and LayerDamaged."""
    made_by = [each.get("created_by", "") for each in built.config["history"] if not each.get("empty_layer")]
    tars = []
    for number, (layer, instruction) in enumerate(zip(built.layers, made_by, strict=True)):
        tars.append(place / f"{number}.tar")
        with disk_full(place), tars[-1].open("wb") as tar:
            tar.writelines(order.secrets.watched(uncompressed_file(layer), f"the layer of {instruction!r}"))
    return tars


# Kinds of recipes whose layers a builder makes, not a bootstrapper.
LAYER_MAKERS = {"dockerfile": make_layers}
