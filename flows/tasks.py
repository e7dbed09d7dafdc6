"""The steps of a build, each a task of the flow in `flows/build.py`."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

from flows import inputs
from flows.builders import Builder
from flows.builders.engine import Engine
from flows.choice import Choice
from flows.image import importer, oci
from flows.inputs import Inputs
from flows.progress import size
from flows.publish import publication, registry
from flows.publish.record import Record, Smoke, UsedBuilder
from flows.session import current, current_run
from flows.smoke import Verdict, smoke_test
from flows.steps import step
from rootfs.digests import canonical
from rootfs.engines import Job, engine_for
from rootfs.errors import EngineUnfit
from rootfs.inventory import Inventory
from rootfs.members import Members
from rootfs.normalise import normalised
from rootfs.pack import Layer, pack
from rootfs.recipe import DEBOOTSTRAP_VARIANTS, DebootstrapRecipe, Recipe, find, read
from rootfs.slim import Rules, filtered


@dataclass(frozen=True)
class Packed:
    """A layer, and the packages in it: `name:architecture` and version."""

    layer: Layer
    packages: dict[str, str]


@step("resolve {image}", network=True)
def resolve(image: str, choice: Choice) -> Inputs:
    """The recipe, and what it means today."""
    file = find(image, current().settings.recipes)
    recipe = read(file)
    wanted = inputs.gather(chosen_engine(recipe, choice), file)
    if wanted.lock.releases:
        current().progress.note(f"archive of {datetime.fromtimestamp(wanted.lock.epoch, UTC):%Y-%m-%d %H:%M} UTC")
    return wanted


def chosen_engine(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe with the engine a person chose; a scratch recipe has none. Raises EngineUnfit."""
    if not choice.engine or not isinstance(recipe, DebootstrapRecipe):
        return recipe
    if choice.engine == "debootstrap" and recipe.variant not in DEBOOTSTRAP_VARIANTS:
        raise EngineUnfit(recipe.name, choice.engine, recipe.variant)
    return recipe.model_copy(update={"engine": choice.engine})


@step("look-up {wanted.recipe.name}", network=True)
def already_built(wanted: Inputs) -> Record | None:
    """The build with the same inputs, if it is in every place it has to be."""
    here = current()
    known = publication.known(here.store, wanted.digest)
    if known is None or not known.registry.startswith(here.settings.registry):
        return None
    return known.model_copy(update={"status": "unchanged", "seconds": dict(current_run().timeline.seconds)})


@step("tree {wanted.recipe.name}/{wanted.architecture}", network=True)
def make_tree(wanted: Inputs, folder: Path, running: ExitStack) -> Members:
    """Run the engine until its tree is there. The members are read later, while `running` is open."""
    job = Job(
        recipe=wanted.recipe,
        files=wanted.files,
        lock=wanted.lock,
        sources=wanted.sources,
        architecture=wanted.architecture,
        folder=empty_folder(folder / "tree"),
        log=current_run().log,
    )
    with ExitStack() as engine_run:
        members = iter(engine_run.enter_context(engine_for(wanted.recipe)(job)))
        first = list(islice(members, 1))  # an engine that fails does so before its first member
        running.push(engine_run.pop_all())
    return chain(first, members)


def empty_folder(folder: Path) -> Path:
    """The folder without what an earlier try may have left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@step("pack {wanted.recipe.name}/{wanted.architecture}")
def pack_tree(wanted: Inputs, members: Members, folder: Path, running: ExitStack) -> Packed:
    """Normalise, filter and pack the members, and see that the engine ended well."""
    inventory, sources = Inventory(), "".join(f"{source.public}\n" for source in wanted.sources)
    slim = wanted.recipe.slim if isinstance(wanted.recipe, DebootstrapRecipe) else ()
    with running:
        clean = filtered(normalised(members, wanted.lock.epoch, sources), Rules.named(slim))
        layer = pack(inventory.watching(clean), folder / "layer.tar.zst")
    current().progress.note(f"{size(layer.unpacked)} to {size(layer.size)}")
    return Packed(layer, inventory.packages())


@step("assemble {wanted.recipe.name}/{wanted.architecture}")
def assemble(wanted: Inputs, packed: Packed, folder: Path) -> oci.Image:
    """The OCI image: from here on its digest is known."""
    recipe = wanted.recipe
    made = oci.assemble(
        packed.layer,
        recipe.image,
        name=recipe.name,
        architecture=wanted.architecture,
        epoch=wanted.lock.epoch,
        folder=folder,
    )
    current().progress.note(made.manifest_digest)
    return made


@step("import {made.name} ({builder.driver})")
def import_image(made: oci.Image, builder: Builder) -> str:
    """Through the builder into the engine; what arrives must have the digest that was sent."""
    return importer.import_image(made, builder)


@step("smoke {wanted.recipe.name}")
def smoke(wanted: Inputs, image_id: str, engine: Engine, run_id: str) -> Verdict:
    """Run the recipe's checks; a failure ends the build before anything is published."""
    log = current_run().log
    verdict = smoke_test(image_id, wanted.recipe.smoke, engine, run_label=run_id, log=log)
    current().progress.note(f"{verdict.passed} passed, {verdict.failed} failed")
    verdict.require()
    return verdict


@step("publish {made.name}", network=True)
def publish(made: oci.Image, image_id: str, engine: Engine) -> str:
    """Blobs to the store, the image to the registry by digest, and then the names; returns what was pushed."""
    here, run = current(), current_run()
    publication.keep_blobs(here.store, made)
    pushed = ""
    if here.settings.registry:
        where = registry.Registry(here.settings.registry, here.settings.registry_insecure)
        pushed = registry.push(made, where, log=run.log)
        registry.tag(pushed, where, [run.build, "latest"], log=run.log)
    importer.tag(engine, image_id, f"{here.settings.local_name}/{made.name}:latest")
    return pushed


@step("record {done.image}", network=True)
def record(done: Record, pushed: str, packed: Packed) -> Record:
    """The record last: with it the build is published."""
    store, run = current().store, current_run()
    kept = {
        "registry": pushed,
        "inventory": publication.keep_bytes(store, canonical(packed.packages)),
        "log": publication.keep_log(store, run.log_file),
        "seconds": dict(run.timeline.seconds),
    }
    published = done.model_copy(update=kept)
    publication.keep_record(store, published)
    return published


def describe(wanted: Inputs, made: oci.Image, packed: Packed, used: UsedBuilder, verdict: Verdict) -> Record:
    """What there is to say of a build that went well."""
    run, recipe = current_run(), wanted.recipe
    return Record(
        image=recipe.name,
        build=run.build,
        status="published",
        platforms=(wanted.platform,),
        input_digest=wanted.digest,
        recipe_digest=wanted.recipe_digest,
        lock=wanted.lock,
        tools=wanted.tools,
        manifest_digest=made.manifest_digest,
        config_digest=made.config_digest,
        layer_digest=packed.layer.digest,
        diff_id=packed.layer.diff_id,
        size=made.size,
        unpacked=packed.layer.unpacked,
        packages=len(packed.packages),
        builder=used,
        seconds=dict(run.timeline.seconds),
        smoke=Smoke(passed=verdict.passed, failed=verdict.failed),
        example=recipe.smoke[0].run if recipe.smoke else (),
    )
