"""The steps of a build, each a task of the flow in `flows/build.py`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows import ahead, inputs
from flows.builders import Builder
from flows.builders.engine import Engine
from flows.choice import Choice
from flows.image import importer, oci
from flows.inputs import Inputs
from flows.progress import size
from flows.publish import ingredients, publication, registry
from flows.publish.record import Record, Smoke, UsedBuilder
from flows.session import current, current_run
from flows.settings import cache_folder
from flows.smoke import Verdict, smoke_test
from flows.steps import step
from flows.trees import empty_folder, grow
from rootfs import pool
from rootfs.closure import Closure
from rootfs.digests import canonical
from rootfs.errors import LibrariesMissing
from rootfs.inventory import Inventory
from rootfs.members import Members
from rootfs.normalise import normalised
from rootfs.pack import Layer, Sink, pack
from rootfs.parts import ImageSettings
from rootfs.recipe import DebootstrapRecipe, Recipe
from rootfs.slim import Rules, filtered


@dataclass(frozen=True)
class Packed:
    """A layer, the packages in it (`name:architecture` and version), and what its programs are linked with.

    `below` are layers under it, and the config that the image has where its recipe says nothing.
    """

    layer: Layer
    packages: dict[str, str]
    closure: Closure
    below: oci.Parent = oci.Parent()  # noqa: RUF009 - frozen


@step("resolve {image}", network=True)
def resolve(image: str, choice: Choice) -> Inputs:
    """The recipe, and what it means today."""
    wanted = inputs.meant(image, choice)
    if wanted.newest.releases:
        state = f"archive of {datetime.fromtimestamp(wanted.newest.epoch, UTC):%Y-%m-%d %H:%M} UTC"
        current().progress.note(f"{len(wanted.lock.packages)} packages, {state}")
    return wanted


@step("look-up {wanted.recipe.name}", network=True)
def already_built(wanted: Inputs) -> Record | None:
    """The build with the same inputs, if it is in every place it has to be."""
    known = inputs.built(wanted)
    return known and known.model_copy(update={"status": "unchanged", "seconds": dict(current_run().timeline.seconds)})


@step("fetch {wanted.recipe.name}", network=True)
def fetch(wanted: Inputs, folder: Path, *, offline: bool = False) -> Path:
    """Every deb of the lock in a folder: out of the pool, which takes from the archive only what it lacks."""
    here, run, packages = current(), current_run(), wanted.lock.packages
    if debs := ahead.debs(wanted):
        here.progress.note(_fetched(0, len(packages), 0))
        return debs
    mirror, partial = here.settings.site.mirror, cache_folder() / "partial"
    filled = pool.fill(packages, here.store, mirror, offline=offline, log=run.log, folder=partial)
    debs = empty_folder(folder / "debs")
    pool.lay_out_healed(packages, here.store, debs, mirror, offline=offline, log=run.log)
    if packages:
        here.progress.note(_fetched(filled.fetched, len(packages), filled.bytes))
    return debs


def _fetched(packages: int, of: int, taken: int) -> str:
    return f"{packages} of {of} packages, {size(taken)}"


@step("tree {wanted.recipe.name}/{wanted.architecture}")
def make_tree(wanted: Inputs, debs: Path, folder: Path, running: ExitStack, *, kept: Path | None) -> Members:
    """The members of the tree, which are read later, while `running` is open; `kept` as for `grow`."""
    log = current_run().log
    return ahead.tree(wanted, running, log) or grow(wanted, debs, folder, running, kept=kept, log=log)


@step("pack {wanted.recipe.name}/{wanted.architecture}")
def pack_tree(
    wanted: Inputs,
    members: Members,
    folder: Path,
    running: ExitStack,
    *,
    memo: Path | None,
    tee: Sink | None = None,
    library_path: str = "",
) -> Packed:
    """Normalise, filter and pack the members, and see that the engine ended well.

    `memo` is where compressed pieces are kept, `tee` sees the tar while it is made. `library_path` is what the image's
    LD_LIBRARY_PATH is where the recipe says none.
    """
    recipe, inventory = wanted.recipe, Inventory()
    closure = Closure(recipe.image.env.get("LD_LIBRARY_PATH", library_path))
    with running:
        clean = normalised(members, wanted.epoch)
        if isinstance(recipe, DebootstrapRecipe):
            clean = filtered(clean, Rules.of(recipe))
        layer = pack(closure.watching(inventory.watching(clean)), folder / "layer.tar.zst", memo=memo, tee=tee)
    current().progress.note(f"{size(layer.unpacked)} to {size(layer.size)}")
    return Packed(layer, inventory.packages(), closure)


@step("closure {wanted.recipe.name}/{wanted.architecture}")
def check_closure(wanted: Inputs, packed: Packed, *, offline: bool = False) -> None:
    """See that every program and library finds in the image what it is linked with. Raises LibrariesMissing."""
    current().progress.note(f"{packed.closure.size} programs and libraries")
    linked = Rules.parse(f"exclude {pattern}" for pattern in wanted.recipe.unlinked)
    missing = [each for each in packed.closure.missing() if linked.keeps(each.file)]
    if missing:
        had = inputs.packages_with(wanted, {each.library for each in missing}, offline=offline)
        raise LibrariesMissing(wanted.recipe.name, [(str(each), had.get(each.name, "")) for each in missing])


def image_settings(recipe: Recipe) -> ImageSettings:
    """What a container starts with; a recipe's locale is its LANG, unless `env` says another."""
    locale = recipe.locale if isinstance(recipe, DebootstrapRecipe) else None
    if locale is None:
        return recipe.image
    return recipe.image.model_copy(update={"env": {"LANG": locale, **recipe.image.env}})


@step("assemble {wanted.recipe.name}/{wanted.architecture}")
def assemble(wanted: Inputs, packed: Packed, folder: Path) -> oci.Image:
    """The OCI image: from here on its digest is known."""
    recipe = wanted.recipe
    made = oci.assemble(
        packed.layer,
        image_settings(recipe),
        name=recipe.name,
        architecture=wanted.architecture,
        epoch=wanted.epoch,
        folder=folder,
        parent=packed.below,
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
def record(done: Record, wanted: Inputs, pushed: str, packed: Packed) -> Record:
    """The record last: with it the build is published."""
    store, run = current().store, current_run()
    kept = {
        "registry": pushed,
        "inventory": publication.keep_bytes(store, canonical(packed.packages)),
        "ingredients": ingredients.keep(store, wanted.file, wanted.files),
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
        lock_digest=wanted.lock.digest,
        parents=wanted.parents,
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
