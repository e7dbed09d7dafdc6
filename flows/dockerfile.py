"""From a Dockerfile recipe to a layer: through the chosen builder, and then the way of every other tree."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from flows import bases
from flows.builders import dockerfile, loaded, secrets
from flows.builders.choose import Chosen
from flows.builders.dockerfile import Built, Order
from flows.builders.engine import Engine
from flows.builders.life import ENGINE
from flows.image.oci import Parent
from flows.image.unpack import plain
from flows.inputs import Inputs
from flows.lifecycle import Builders, Held, using
from flows.publish.record import UsedBuilder
from flows.session import current, current_run
from flows.steps import step
from flows.tasks import Packed, pack_tree
from flows.trees import empty_folder
from rootfs.contents import lay_out
from rootfs.digests import canonical
from rootfs.disk import disk_full
from rootfs.dockerfile import DockerfileRecipe
from rootfs.errors import DockerfileUnfit
from rootfs.merge import members_of, tree_of
from rootfs.pack import Sink

AGENT = "SSH_AUTH_SOCK"


@step("collect {wanted.recipe.name}", network=True)
def collect(wanted: Inputs, folder: Path, *, afresh: bool) -> Order:
    """What a builder is handed: a copy of the recipe's folder, the parents out of the store, the site's secrets.

    Raises SecretUnknown.
    """
    recipe, site = wanted.recipe, current().settings
    assert isinstance(recipe, DockerfileRecipe)  # noqa: S101 - the flow chose
    place = empty_folder(folder / "dockerfile")
    lay_out(wanted.files, place / "context", wanted.epoch)
    images = {each.image: bases.lay_out(each, wanted.architecture, place) for each in wanted.parents}
    keys = {name: site.ssh[name] for name in recipe.ssh if name in site.ssh}
    if "default" in recipe.ssh and "default" not in keys and os.environ.get(AGENT):
        keys["default"] = Path(os.environ[AGENT])
    return Order(
        context=place / "context",
        dockerfile=recipe.dockerfile,
        shown=wanted.files / recipe.dockerfile,
        platform=wanted.platform,
        epoch=wanted.epoch,
        target=recipe.target,
        args=recipe.args,
        parents={name: images[image] for name, image in recipe.contexts.items()},
        secrets=secrets.lent(recipe.name, recipe.secrets, site.secrets),
        ssh={name: secrets.site_file(recipe.name, "ssh", name, keys) for name in recipe.ssh},
        online=recipe.online,
        afresh=afresh,
    )


@step("dockerfile {wanted.recipe.name} ({held.taken.driver})")
def build(wanted: Inputs, order: Order, held: Held, engine: Engine | None, run_id: str) -> Built:
    """What the Dockerfile makes. Raises DockerfileFailed, DockerfileOffline, DockerfileUnfit, BuilderFailed."""
    folder, log = empty_folder(order.context.with_name("built")), current_run().log
    if held.taken.driver == ENGINE:
        assert engine is not None  # noqa: S101 - it is the builder
        made = loaded.build(order, held.taken.name, engine, run_id, folder, log)
    else:
        made = dockerfile.build(order, held.taken.name, held.taken.driver, folder, log)
    fit(wanted.recipe.name, made)
    list(order.secrets.watched([canonical(made.config)], "the image's settings"))
    current().progress.note(f"{len(made.layers)} layers")
    return made


def fit(image: str, made: Built) -> None:
    """See that an image of ours can hold this. Raises DockerfileUnfit."""
    if made.config["config"].get("OnBuild"):  # the builder that it is imported through would do it
        what = "its Dockerfile has ONBUILD, which the OCI image specification does not know"
        raise DockerfileUnfit(image, what, "Write the instructions into the Dockerfiles that build on it.")
    if not made.layers:
        raise DockerfileUnfit(image, "its Dockerfile makes no file at all", "COPY or ADD something.")


def through(
    wanted: Inputs,
    place: Path,
    chosen: Chosen,
    held_by: Builders,
    engine: Engine | None,
    run_id: str,
    *,
    afresh: bool = False,
) -> tuple[Order, Built, UsedBuilder]:
    """Build through the chosen builder, once more with a fresh one where that one breaks down."""
    order = collect(wanted, place, afresh=afresh)
    built, used = using(chosen, held_by, lambda held: build(wanted, order, held, engine, run_id))
    return order, built, used


def pack(
    wanted: Inputs, place: Path, order: Order, built: Built, *, memo: Path | None, tee: Sink | None = None
) -> Packed:
    """One normalised layer of all that the Dockerfile has made, with its settings."""
    with ExitStack() as running:
        tree = running.enter_context(tree_of(unpacked(order, built, place)))
        packed = pack_tree(wanted, members_of(tree), place, running, memo=memo, tee=tee)
    return replace(packed, below=Parent(config={"config": built.config["config"]}))


def unpacked(order: Order, built: Built, place: Path) -> list[Path]:
    """The plain tars of the layers. Raises SecretLeaked with the instruction that has made one, and LayerDamaged."""
    made_by = [each.get("created_by", "") for each in built.config["history"] if not each.get("empty_layer")]
    tars = []
    for number, (layer, instruction) in enumerate(zip(built.layers, made_by, strict=True)):
        tars.append(place / f"{number}.tar")
        with disk_full(place), tars[-1].open("wb") as tar:
            tar.writelines(order.secrets.watched(plain(layer), f"the layer of {instruction!r}"))
    return tars
