"""From a Dockerfile recipe to a layer: through the chosen builder, and then the way of every other tree."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from flows.builder_tasks import Builders, Held, using
from flows.builders import buildx_build, secrets
from flows.builders.buildx_build import Built, Order
from flows.builders.engine import Engine
from flows.builders.errors import dockerfile_unfit
from flows.builders.lifecycle import ENGINE
from flows.builders.select import Chosen
from flows.image.decompress import plain
from flows.image.oci import Parent
from flows.inputs import base_images
from flows.inputs.parents import Ground, library_path
from flows.inputs.resolve import Inputs
from flows.inputs.tree import empty_folder
from flows.orchestration.step import step
from flows.runtime.context import current, current_run
from flows.tasks import Packed, pack_tree
from rootfs.elf.linkage import Closure
from rootfs.layer.pack import pack_tar
from rootfs.recipe.dockerfile import DockerfileRecipe
from rootfs.system.digests import canonical_json
from rootfs.system.disk import disk_full
from rootfs.system.source_tree import copy_normalized
from rootfs.system.text import format_size
from rootfs.tree.inventory import Inventory
from rootfs.tree.member import Members
from rootfs.tree.merge import FOLDER, Stack, Tree, members_of, tree_of

AGENT = "SSH_AUTH_SOCK"


@step("collect {wanted.recipe.name}", network=True)
def collect(wanted: Inputs, recipe: DockerfileRecipe, folder: Path, epoch: int, *, afresh: bool) -> Order:
    """What a builder is handed: a copy of the recipe's folder, the parents out of the store, the site's secrets.

    Raises MachineError.
    """
    site = current().settings
    place = empty_folder(folder / "dockerfile")
    copy_normalized(wanted.files, place / "context", epoch)
    images = {each.image: base_images.lay_out(each, wanted.architecture, place) for each in wanted.bases}
    keys = {name: site.ssh[name] for name in recipe.ssh if name in site.ssh}
    if "default" in recipe.ssh and "default" not in keys and os.environ.get(AGENT):
        keys["default"] = Path(os.environ[AGENT])
    return Order(
        context=place / "context",
        dockerfile=recipe.dockerfile,
        shown=wanted.files / recipe.dockerfile,
        platform=wanted.platform,
        epoch=epoch,
        target=recipe.target,
        args=recipe.args,
        parents={name: images[image] for name, image in recipe.contexts.items()},
        secrets=secrets.lent(recipe.name, recipe.secrets, site.secrets),
        ssh={name: secrets.site_file(recipe.name, "ssh", name, keys) for name in recipe.ssh},
        online=recipe.online,
        afresh=afresh,
    )


@step("dockerfile {recipe.name} ({held.taken.driver})")
def build(recipe: DockerfileRecipe, order: Order, held: Held, engine: Engine | None, run_id: str) -> Built:
    """What the Dockerfile makes. Raises BuildError, InputError, BuilderFailed."""
    folder, log = empty_folder(order.context.with_name("built")), current_run().log
    if held.taken.driver == ENGINE:
        assert engine is not None  # noqa: S101 - it is the builder
        if recipe.layers == "kept":
            what = "an engine's own BuildKit cannot set the times in layers that are to be `kept`"
            raise dockerfile_unfit(recipe.name, what, "Choose a builder of another driver, or `layers: one`.")
        made = buildx_build.build_in_engine(order, held.taken.name, engine, run_id, folder, log)
    else:
        made = buildx_build.build_with_builder(order, held.taken.name, held.taken.driver, folder, log)
    fit(recipe.name, made)
    list(order.secrets.watched([canonical_json(made.config)], "the image's settings"))
    current().progress.note(f"{len(made.layers)} layers")
    return made


def fit(image: str, made: Built) -> None:
    """See that an image of ours can hold this. Raises InputError."""
    if made.config["config"].get("OnBuild"):  # the builder that it is imported through would do it
        what = "its Dockerfile has ONBUILD, which the OCI image specification does not know"
        raise dockerfile_unfit(image, what, "Write the instructions into the Dockerfiles that build on it.")
    if not made.layers:
        raise dockerfile_unfit(image, "its Dockerfile makes no file at all", "COPY or ADD something.")


@dataclass(frozen=True)
class Way:
    """How a run gets to its builder; the engine is not needed for one that is none of its own."""

    chosen: Chosen
    held_by: Builders
    engine: Engine | None
    run_id: str


def make_layers(wanted: Inputs, place: Path, way: Way, *, memo: Path | None) -> tuple[Packed, Ground]:
    """What the Dockerfile makes, through the chosen builder: one normalised layer, or the highest of its own.

    With it comes what the image is assembled on: the Dockerfile's settings, and the layers below. Without a `memo`
    nothing of an earlier build is used.
    """
    recipe = cast(DockerfileRecipe, wanted.recipe)  # as LAYER_MAKERS says
    epoch = base_images.newest_epoch(wanted.bases)
    order = collect(wanted, recipe, place, epoch, afresh=memo is None)
    built, _ = using(way.chosen, way.held_by, lambda held: build(recipe, order, held, way.engine, way.run_id))
    tars = unpacked(order, built, place)
    if recipe.layers == "kept":
        return keep(wanted, order, built, tars, memo=memo)
    ground = Ground(Parent(config={"config": built.config["config"]}), Stack((), epoch))
    with ExitStack() as running:
        members = rooted(running.enter_context(tree_of(tars)), epoch)
        return pack_tree(wanted, members, place, running, memo=memo, ground=ground), ground


def rooted(tree: Tree, epoch: int) -> Members:
    """The members of a tree, which has a root folder of the time `epoch` at least."""
    yield replace(tree[FOLDER.path].head if FOLDER.path in tree else FOLDER, mtime=epoch)
    yield from (member for member in members_of(tree) if member.path != FOLDER.path)


@step("pack {wanted.recipe.name}/{wanted.architecture}")
def keep(wanted: Inputs, order: Order, built: Built, tars: list[Path], *, memo: Path | None) -> tuple[Packed, Ground]:
    """The Dockerfile's own layers, each tar as it is: those of parents as these have them, the others compressed."""
    known = {layer.diff_id: layer for image in order.parents.values() for layer in image.layers}
    diff_ids = built.config["rootfs"]["diff_ids"]
    layers = [
        known.get(diff_id) or pack_tar(tar, tar.with_suffix(".tar.zst"), memo=memo)
        for tar, diff_id in zip(tars, diff_ids, strict=True)
    ]
    ground = Ground(Parent(tuple(layers[:-1]), built.config), Stack(tuple(tars[:-1]), order.epoch))
    inventory, closure = Inventory(), Closure(library_path(wanted.recipe.image, ground))
    with tree_of(tars) as tree:
        for _ in closure.watching(inventory.watching(members_of(tree))):
            pass
    current().progress.note(f"{format_size(sum(layer.unpacked for layer in layers))} in {len(layers)} layers")
    return Packed(layers[-1], inventory.packages(), closure, inventory.distribution, order.epoch), ground


def unpacked(order: Order, built: Built, place: Path) -> list[Path]:
    """The plain tars of the layers. Raises BuildError with the instruction that has made one, and LayerDamaged."""
    made_by = [each.get("created_by", "") for each in built.config["history"] if not each.get("empty_layer")]
    tars = []
    for number, (layer, instruction) in enumerate(zip(built.layers, made_by, strict=True)):
        tars.append(place / f"{number}.tar")
        with disk_full(place), tars[-1].open("wb") as tar:
            tar.writelines(order.secrets.watched(plain(layer), f"the layer of {instruction!r}"))
    return tars


# Kinds of recipes whose layers a builder makes, not a bootstrapper.
LAYER_MAKERS = {"dockerfile": make_layers}
