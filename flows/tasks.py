"""The steps that make an image for one platform, from its lock to a smoke-tested image: each a task of the flow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

from flows.image import oci
from flows.inputs import base_images
from flows.inputs.annotations import annotations_of
from flows.inputs.base_images import Foundation
from flows.inputs.resolve import ImageInputs, Inputs, packages_with, resolve_image
from flows.orchestration.step import step
from flows.publish.record import BaseImageBuild, SmokeCounts
from flows.runtime.context import BuildContext
from flows.runtime.workdir import empty_folder
from flows.smoke.run import smoke_test
from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.checks.build_state import BuildState
from rootfs.checks.errors import not_repeatable, private_keys_found
from rootfs.checks.startup import Start, StartCheck
from rootfs.checks.trust import BUNDLE, require_certificates, with_certificates
from rootfs.elf.errors import missing_libraries, other_architecture
from rootfs.elf.linkage import LinkageCheck
from rootfs.elf.machine import architectures
from rootfs.errors import RecipeInvalid
from rootfs.layer import compress
from rootfs.layer.pack import Layer, pack
from rootfs.network.certificates import read_certificates
from rootfs.packages import pool
from rootfs.packages.tarball_signature import verified_signer
from rootfs.packages.tarball_source import TarballSource
from rootfs.process.host import native_architecture
from rootfs.recipe.base import ImageContents
from rootfs.recipe.sections import TARBALL_NAME, Key, SmokeCheck, TarballKeys
from rootfs.recipe.yaml import load_yaml
from rootfs.scratch import unpack
from rootfs.system.disk import program_disk_full
from rootfs.system.text import format_size
from rootfs.tarball.sanitize import device_rules
from rootfs.tree.diff_layer import diff_members
from rootfs.tree.filters import Rules, excluded, filtered, included
from rootfs.tree.inventory import Inventory
from rootfs.tree.member import Members, limit_size
from rootfs.tree.merge import merge_layers
from rootfs.tree.normalize import normalize, tree_epoch

NO_LOGIN = re.compile(r"/(nologin|false)$")  # shells of users who do not log in


@dataclass(frozen=True)
class PackedLayer:
    """A layer, the packages in it (`name:architecture` and version), what its programs are linked with, and what a
    container can start with.

    `distribution` is what the tree calls itself; `epoch` how new it is, in seconds since 1970. `state` has what the
    build itself has made.
    """

    layer: Layer
    packages: dict[str, str]
    linkage: LinkageCheck
    state: BuildState
    start: StartCheck
    distribution: str
    epoch: int


@step("resolve {ctx.image}", network=True)
def resolve(ctx: BuildContext) -> ImageInputs:
    """Resolve the recipe: the inputs of the image, for each platform."""
    inputs = resolve_image(ctx)
    ctx.reached("seen")
    if epoch := max(each.newest.epoch for each in inputs.platforms):
        counts = " and ".join(str(len(each.lock.packages)) for each in inputs.platforms)
        ctx.note(f"{counts} packages, archive of {datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC")
    return inputs


@step("fetch {inputs.label}", network=True)
def fetch(ctx: BuildContext, inputs: Inputs, folder: Path) -> Path:
    """Fetch everything that the lock names into a folder, from the pool, which downloads only what it lacks."""
    debs = empty_folder(folder / "debs")
    if tarball := inputs.recipe.tarball:
        fetch_tarball(ctx, inputs, tarball, debs / TARBALL_NAME)
        return debs
    offline, packages, partial = ctx.options.offline, inputs.lock.packages, ctx.cache / "partial"
    mirror, transfers = ctx.settings.site.mirror, ctx.settings.site.transfers()
    filled = pool.fill_pool(
        packages, ctx.store, mirror, offline=offline, log=ctx.log, folder=partial, transfers=transfers
    )
    pool.write_debs_repairing(packages, ctx.store, debs, mirror, offline=offline, log=ctx.log, transfers=transfers)
    if packages:
        ctx.note(f"{filled.fetched} of {len(packages)} packages, {format_size(filled.bytes)}")
    return debs


def fetch_tarball(ctx: BuildContext, inputs: Inputs, tarball: TarballKeys, path: Path) -> None:
    """Fetch a recipe's tarball from the store; only what the store lacks is downloaded. Raises as `TarballSource`."""
    digest, transfers = inputs.lock.tarball, ctx.settings.site.transfers()
    source = TarballSource(
        tarball, inputs.files, ctx.store, ctx.cache / "partial", ctx.options.offline, ctx.log, transfers
    )
    taken = source.put_in_pool(digest)
    source.write(digest, path)
    ctx.note(f"{format_size(path.stat().st_size)}, {format_size(taken)} of it fetched")


@step("signature {inputs.recipe.name}", network=True)
def check_signature(ctx: BuildContext, inputs: Inputs, tarball: TarballKeys, debs: Path) -> None:
    """Check the tarball's signature, as its recipe names it. Raises what `verified_signer` does."""
    cache, transfers = ctx.cache / "partial", ctx.settings.site.transfers()
    if key := verified_signer(
        tarball, inputs.files, debs / TARBALL_NAME, cache, offline=ctx.options.offline, log=ctx.log, transfers=transfers
    ):
        ctx.log(f"{tarball.source}: signed by {key}")


@step("parent {base.image}", network=True)
def fetch_base_image(ctx: BuildContext, base: BaseImageBuild, folder: Path) -> Foundation:
    """Fetch the base image of a layer out of the store."""
    ctx.note(f"build {base.build}")
    return base_images.fetch_layers(ctx.store, base, empty_folder(folder / "parent"))


@step("tree {inputs.label}")
def make_tree(
    ctx: BuildContext,
    inputs: Inputs,
    debs: Path,
    folder: Path,
    running: ExitStack,
    *,
    foundation: Foundation | None = None,
    use_cache: bool = True,
) -> Members:
    """Run the bootstrapper until its tree is there. The members are read later, while `running` is open.

    A layer's tree begins with the base image's tree. Without `use_cache` no tree of an earlier build is used.
    """
    job = Job(
        recipe=inputs.recipe,
        files=inputs.files,
        lock=inputs.lock,
        architecture=inputs.architecture,
        folder=empty_folder(folder / "tree"),
        debs=debs,
        cache=ctx.cache if use_cache else None,
        log=ctx.log,
        base_image=foundation.stack if foundation else None,
        base_recipes=inputs.lineage[:-1],
        limits=ctx.settings.limits,
        toolchains=ctx.settings.toolchains,
    )
    with program_disk_full(job.folder), ExitStack() as bootstrapping:
        members = iter(bootstrapping.enter_context(open_tree(job)))
        if not inputs.recipe.tarball:  # which has a limit of its own
            members = limit_size(members, ctx.settings.limits.disk)
        first = list(islice(members, 1))  # a bootstrapper that fails does so before its first member
        running.push(bootstrapping.pop_all())
    return chain(first, members)


@step("pack {inputs.label}")
def pack_layer(
    ctx: BuildContext,
    inputs: Inputs,
    members: Members,
    folder: Path,
    running: ExitStack,
    *,
    foundation: Foundation | None = None,
    use_cache: bool = True,
) -> PackedLayer:
    """Normalize, filter and pack the members; on a base image only what is new. Closes `running`, which raises the
    errors of the bootstrapper.
    """
    inventory, start = Inventory(), StartCheck()
    linkage = LinkageCheck(base_images.library_path(inputs.recipe.image, foundation))
    with running:
        members, epoch = tree_epoch(members, inputs.lock.epoch if inputs.lock.releases else None)
        epoch = base_images.epoch_on(foundation, epoch)
        certificates = read_certificates(inputs.files, inputs.recipe.certificates)
        state = BuildState(epoch, [*inputs.recipe.given_files, BUNDLE, *(each.path for each in certificates)])
        keep = included(path for each in inputs.lineage for path in each.added_files)
        clean = normalize(members, epoch, [*keep, *(device_rules() if inputs.recipe.keeps_devices else ())])
        if (rules := Rules.of(*(each.filters for each in inputs.lineage))).steps:
            clean = filtered(clean, rules)
        if certificates:
            if not inputs.recipe.installs_certificates:
                clean = with_certificates(clean, certificates, epoch)
            clean = require_certificates(clean, certificates)
        watched: Members = linkage.observe(start.observe(inventory.observe(state.observe(clean))))
        if foundation and foundation.stack.tars:
            base_tree = running.enter_context(merge_layers(foundation.stack.tars))
            watched = state.in_layer(diff_members(base_tree, watched))
        layer = pack(watched, folder / "layer.tar.zst", frame_cache=frame_cache(ctx, use_cache=use_cache))
    ctx.note(f"{format_size(layer.unpacked)} to {format_size(layer.size)}")
    return PackedLayer(layer, inventory.packages(), linkage, state, start, inventory.distribution, epoch)


def frame_cache(ctx: BuildContext, *, use_cache: bool = True) -> Path | None:
    """The cache of compressed frames of layers."""
    return ctx.cache / compress.FOLDER if use_cache else None


@step("closure {inputs.label}")
def check_linkage(ctx: BuildContext, inputs: Inputs, packed: PackedLayer) -> None:
    """Check that programs and libraries find in the image what they are linked with, and most are for its platform.

    Raises BuildError.
    """
    ctx.note(f"{packed.linkage.size} programs and libraries")
    found = architectures(packed.linkage.machines)
    if found and not {inputs.architecture, *inputs.foreign} & {*found}:
        raise other_architecture(" or ".join(found), inputs.architecture, inputs.recipe.name)
    linked = Rules.parse(excluded(pattern for each in inputs.all_recipes for pattern in each.unlinked))
    missing = [each for each in packed.linkage.missing() if linked.keeps(each.file)]
    if missing:
        ctx.progress.say(f"{inputs.label}: libraries are missing: looking for their packages in the archives' Contents")
        offer = packages_with(ctx, inputs, {each.library for each in missing})
        of = {each.file: packed.linkage.architectures_of(each.file) for each in missing}
        ends = {file: next((f":{name}" for name in inputs.foreign if name in names), "") for file, names in of.items()}
        packages = {each: offer[each.name] + ends[each.file] for each in missing if each.name in offer}
        raise missing_libraries(
            inputs.recipe.name, [(each.file, str(each), packages.get(each, "")) for each in missing]
        )


@step("keys {inputs.label}")
def check_build_state(ctx: BuildContext, inputs: Inputs, packed: PackedLayer) -> None:
    """Check that no private key is in the layer that its recipes do not allow, and name what differs in each build.

    Raises BuildError.
    """
    unlisted = Rules.parse(excluded(key.path for each in inputs.all_recipes for key in each.private_keys))
    keys = packed.state.private_keys()
    if refused := [key for key in keys if unlisted.keeps(key.path.lstrip("/"))]:
        raise private_keys_found(inputs.recipe.name, refused)
    if keys:
        ctx.note(f"{len(keys)} private keys, allowed by the recipe")
    if (varying := packed.state.varying()) and not inputs.recipe.no_because:
        ctx.warn(not_repeatable(varying))


@step("start {inputs.label}")
def check_start(ctx: BuildContext, inputs: Inputs, packed: PackedLayer, foundation: Foundation | None = None) -> Start:
    """Check that a container can start: its user, its folder and its program are in the tree.

    Returns what it starts with. Raises RecipeInvalid.
    """
    base_config = foundation.image.config.get("config", {}) if foundation else {}
    config = oci.container_config(inputs.recipe.container_settings, base_config)
    start = Start(
        user=config.get("User", ""),
        workdir=config.get("WorkingDir", ""),
        entrypoint=tuple(config.get("Entrypoint", ())),
        cmd=tuple(config.get("Cmd", ())),
        path=next((pair[5:] for pair in config["Env"] if pair.startswith("PATH=")), ""),
    )
    if found := list(start_problems(inputs, packed.start, start)):
        document = load_yaml(inputs.file)
        raise RecipeInvalid([(document.place(key), why) for key, why in found])
    ctx.note(start.program or "no program")
    return start


def start_problems(inputs: Inputs, tree: StartCheck, start: Start) -> Iterator[tuple[Key, str]]:
    """Why containers of the image cannot start, or users have no shell, by the keys of the recipe."""
    for setting, why in tree.problems(start, inputs.architecture):
        own = getattr(inputs.recipe.container_settings, setting)
        yield ("image", setting), f"`{setting}`{'' if own else ', which the recipe does not set itself'}: {why}"
    users = inputs.recipe.users if isinstance(inputs.recipe, ImageContents) else ()
    for number, user in enumerate(users):
        if not NO_LOGIN.search(user.shell) and (why := tree.why_not(user.shell, inputs.architecture)):
            yield ("users", number, "shell"), why


@step("assemble {inputs.label}")
def assemble(
    ctx: BuildContext, inputs: Inputs, packed: PackedLayer, layout: Path, foundation: Foundation | None = None
) -> oci.Image:
    """Assemble the OCI image: from here on its digest is known."""
    image = oci.make_image(
        packed.layer,
        inputs.container_settings,
        name=inputs.recipe.name,
        architecture=inputs.architecture,
        epoch=packed.epoch,
        folder=layout,
        base_image=foundation.image if foundation else oci.BaseImage(),
        annotations=annotations_of(inputs, packed.epoch, foundation.build if foundation else None),
    )
    ctx.note(image.manifest_digest)
    return image


@step("smoke {inputs.label}")
def run_smoke_tests(ctx: BuildContext, inputs: Inputs, image_id: str, folder: Path, start: Start) -> SmokeCounts:
    """Run the recipe's checks; a failure ends the build before anything is published.

    Without checks, nothing is known but that the program which a container starts with is in the tree.
    """
    if not inputs.recipe.smoke:
        known = f"that {start.program} is in the image" if start.program else "that the image can be imported"
        ctx.note(untested := f"no checks: nothing is tested but {known}")
        return SmokeCounts(passed=0, failed=0, untested=untested)

    def overlay(check: SmokeCheck) -> Path | None:
        if not check.brings:
            return None
        place = empty_folder(folder / "smoke")
        packages, debs = [each for each in inputs.lock.packages if each.name in check.packages], place / "debs"
        pool.write_debs_repairing(
            packages, ctx.store, empty_folder(debs), lambda address: address, offline=True, log=ctx.log
        )
        return unpack.write_smoke_overlay(packages, debs, check.files, inputs.files, place)

    emulated = inputs.platform if inputs.architecture != native_architecture() else ""
    result = smoke_test(
        image_id,
        inputs.recipe.smoke,
        ctx.engine(),
        run_label=ctx.run_id,
        log=ctx.log,
        brought=overlay,
        emulated=emulated,
    )
    ctx.note(f"{result.passed} passed, {result.failed} failed")
    result.require()
    return SmokeCounts(passed=result.passed, failed=result.failed)
