"""The steps of a build, each a task of the flow in `flows/build.py`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.builders import image_import
from flows.builders.engine import Engine
from flows.builders.image_import import Builder
from flows.config.options import Choice
from flows.config.paths import cache_folder
from flows.image import oci
from flows.inputs import parents
from flows.inputs import resolve as inputs
from flows.inputs.parents import Ground
from flows.inputs.resolve import Inputs, Meant
from flows.inputs.tarball import check_signature, fetch_tarball
from flows.inputs.tree import empty_folder, grow
from flows.orchestration.step import step
from flows.publish.record import ParentBuild
from flows.runtime.context import current, current_run
from flows.smoke.run import Verdict, smoke_test
from rootfs.elf.errors import missing_libraries, other_architecture
from rootfs.elf.linkage import Closure
from rootfs.elf.machine import architectures
from rootfs.layer.pack import Layer, pack
from rootfs.packages import pool
from rootfs.process.host import native_architecture
from rootfs.recipe.sections import SmokeCheck, TarballKeys
from rootfs.scratch import unpack
from rootfs.system.text import format_size
from rootfs.tarball.sanitize import device_rules
from rootfs.tree.diff_layer import difference
from rootfs.tree.filters import Rules, excluded, filtered
from rootfs.tree.inventory import Inventory
from rootfs.tree.member import Members
from rootfs.tree.merge import tree_of
from rootfs.tree.normalize import dated, normalised


@dataclass(frozen=True)
class Packed:
    """A layer, the packages in it (`name:architecture` and version), and what its programs are linked with.

    `distribution` is what the tree calls itself; `epoch` how new it is, in seconds since 1970.
    """

    layer: Layer
    packages: dict[str, str]
    closure: Closure
    distribution: str
    epoch: int


@step("resolve {image}", network=True)
def resolve(image: str, choice: Choice) -> Meant:
    """The recipe, and what it means today."""
    wanted = inputs.meant(image, choice)
    if epoch := max(each.newest.epoch for each in wanted.parts):
        counts = " and ".join(str(len(each.lock.packages)) for each in wanted.parts)
        state = f"archive of {datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"
        current().progress.note(f"{counts} packages, {state}")
    return wanted


@step("fetch {wanted.recipe.name}/{wanted.architecture}", network=True)
def fetch(wanted: Inputs, folder: Path, *, offline: bool = False) -> Path:
    """All that the lock names in a folder: out of the pool, which takes from elsewhere only what it lacks."""
    here, run, packages = current(), current_run(), wanted.lock.packages
    if tarball := wanted.recipe.tarball:
        return fetch_tarball(wanted, tarball, folder, offline=offline)
    mirror, transfers, partial = here.settings.site.mirror, here.settings.site.transfers(), cache_folder() / "partial"
    filled = pool.fill_pool(
        packages, here.store, mirror, offline=offline, log=run.log, folder=partial, transfers=transfers
    )
    debs = empty_folder(folder / "debs")
    pool.write_debs_repairing(packages, here.store, debs, mirror, offline=offline, log=run.log, transfers=transfers)
    if packages:
        here.progress.note(f"{filled.fetched} of {len(packages)} packages, {format_size(filled.bytes)}")
    return debs


@step("parent {parent.image}", network=True)
def lay_parent(parent: ParentBuild, folder: Path) -> Ground:
    """The image that a layer is laid on, out of the store."""
    current().progress.note(f"build {parent.build}")
    return parents.lay_out(current().store, parent, empty_folder(folder / "parent"))


@step("signature {wanted.recipe.name}", network=True)
def signature(wanted: Inputs, tarball: TarballKeys, place: Path, *, offline: bool) -> None:
    """See who vouches for a tarball, where its recipe names a signature. Raises BuildError."""
    check_signature(wanted, tarball, place, offline=offline)


@step("tree {wanted.recipe.name}/{wanted.architecture}")
def make_tree(
    wanted: Inputs, debs: Path, folder: Path, running: ExitStack, *, cache: Path | None, ground: Ground | None = None
) -> Members:
    """The members of the tree, which are read later, while `running` is open; `cache` as for `grow`."""
    log, stack = current_run().log, ground.stack if ground else None
    limits = current().settings.limits
    return grow(wanted, debs, folder, running, cache=cache, log=log, limits=limits, stack=stack)


@step("pack {wanted.recipe.name}/{wanted.architecture}")
def pack_tree(
    wanted: Inputs,
    members: Members,
    folder: Path,
    running: ExitStack,
    *,
    memo: Path | None,
    ground: Ground | None = None,
) -> Packed:
    """Normalise, filter and pack the members, and see that the engine ended well; on layers only what is new there.

    `memo` is where compressed pieces are kept.
    """
    inventory, closure = Inventory(), Closure(parents.library_path(wanted.recipe.image, ground))
    with running:
        members, epoch = dated(members, wanted.lock)
        epoch = parents.epoch(epoch, ground)
        clean = normalised(members, epoch, device_rules() if wanted.recipe.keeps_devices else ())
        if (rules := Rules.of(*(each.filters for each in wanted.lineage))).steps:
            clean = filtered(clean, rules)
        watched: Members = closure.watching(inventory.watching(clean))
        if ground and ground.stack.tars:
            watched = difference(running.enter_context(tree_of(ground.stack.tars)), watched)
        layer = pack(watched, folder / "layer.tar.zst", memo=memo)
    current().progress.note(f"{format_size(layer.unpacked)} to {format_size(layer.size)}")
    return Packed(layer, inventory.packages(), closure, inventory.distribution, epoch)


@step("closure {wanted.recipe.name}/{wanted.architecture}")
def check_closure(wanted: Inputs, packed: Packed, *, offline: bool = False) -> None:
    """See that every program and library finds in the image what it is linked with, and that most are for its platform.

    Raises BuildError.
    """
    current().progress.note(f"{packed.closure.size} programs and libraries")
    found = architectures(packed.closure.machines)
    if found and wanted.architecture not in found:
        raise other_architecture(" or ".join(found), wanted.architecture, wanted.recipe.name)
    linked = Rules.parse(excluded(pattern for each in wanted.lineage for pattern in each.unlinked))
    missing = [each for each in packed.closure.missing() if linked.keeps(each.file)]
    if missing:
        had = inputs.packages_with(wanted, {each.library for each in missing}, offline=offline)
        raise missing_libraries(wanted.recipe.name, [(str(each), had.get(each.name, "")) for each in missing])


@step("assemble {wanted.recipe.name}/{wanted.architecture}")
def assemble(wanted: Inputs, packed: Packed, folder: Path, ground: Ground | None = None) -> oci.Image:
    """The OCI image: from here on its digest is known."""
    recipe = wanted.recipe
    made = oci.assemble(
        packed.layer,
        recipe.container_settings,
        name=recipe.name,
        architecture=wanted.architecture,
        epoch=packed.epoch,
        folder=folder,
        parent=ground.image if ground else oci.Parent(),
    )
    current().progress.note(made.manifest_digest)
    return made


@step("import {made.name}/{made.architecture} ({builder.driver})")
def import_image(made: oci.Image, builder: Builder) -> str:
    """Through the builder into the engine; what arrives must have the digest that was sent."""
    return image_import.import_image(made, builder)


@step("smoke {wanted.recipe.name}/{wanted.architecture}")
def smoke(wanted: Inputs, image_id: str, engine: Engine, folder: Path, run_id: str) -> Verdict:
    """Run the recipe's checks; a failure ends the build before anything is published."""
    log, place = current_run().log, folder / "smoke"

    def brought(check: SmokeCheck) -> Path | None:
        if not check.brings:
            return None
        packages = [package for package in wanted.lock.packages if package.name in check.packages]
        debs = empty_folder(empty_folder(place) / "debs")
        pool.write_debs_repairing(packages, current().store, debs, lambda address: address, offline=True, log=log)
        return unpack.brought(packages, debs, check.files, wanted.files, place)

    checks, foreign = wanted.recipe.smoke, wanted.architecture != native_architecture()
    emulated = wanted.platform if foreign else ""
    verdict = smoke_test(image_id, checks, engine, run_label=run_id, log=log, brought=brought, emulated=emulated)
    current().progress.note(f"{verdict.passed} passed, {verdict.failed} failed")
    verdict.require()
    return verdict
