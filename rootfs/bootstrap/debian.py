"""Trees of Debian packages: a bootstrapper installs the essential packages, our installer all others.

Many recipes share their essential packages, and the base packages of their variant: the trees of both are cached.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread

from rootfs.bootstrap import apt_files, debootstrap, local_repository, mmdebstrap, tree_cache
from rootfs.bootstrap.bootstrapper import READ_TIMEOUT, Job, is_root, remove_tree
from rootfs.bootstrap.install_plan import StartTree, make_plan
from rootfs.bootstrap.settings_check import check_settings
from rootfs.errors import MachineError, error_from
from rootfs.install.customize import SCRIPT_PREFIX
from rootfs.install.dpkg import explain_failure
from rootfs.install.plan import Plan
from rootfs.lock.lock import Package
from rootfs.packages import decompressed
from rootfs.packages.decompressed import DecompressedDeb, Decompressing
from rootfs.process.errors import LimitReached, ProgramFailed, ProgramTimedOut
from rootfs.process.run import OWN_ENVIRONMENT, own_command, own_command_apart, run, stream
from rootfs.process.sandbox import for_trees
from rootfs.recipe.base import Packaged
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.system.disk import program_disk_full
from rootfs.tree.member import Member, Members, from_tar, from_tree
from rootfs.tree.merge import members_of, merge_layers
from rootfs.tree.normalize import date_folders
from rootfs.tree.tar_writer import tar_chunks

# Makes the tree of the essential packages; what it starts in the background goes on until the stack is closed.
MakeStart = Callable[[Decompressing, ExitStack], None]
PROBLEM_BYTES = 1 << 17  # bytes reserved for an error of the installer, with the output of a program
# Each makes the tree of the packages in the job's repository, for a suite and with a SOURCE_DATE_EPOCH. The function
# that it is given returns the debs when they are there.
GetDebs = Callable[[], list[DecompressedDeb]]
BOOTSTRAPPERS: dict[str, Callable[[Job, GetDebs, str, int], None]] = {
    "mmdebstrap": mmdebstrap.make_essential_tree,
    "debootstrap": debootstrap.make_essential_tree,
}


def open_tree(job: Job, recipe: DebootstrapRecipe) -> AbstractContextManager[Members]:
    """The tree of a debootstrap recipe. Raises what `_members_of` raises."""
    return _members_of(job, recipe, partial(make_tree, job, recipe))


def open_layer_tree(job: Job, recipe: Packaged) -> AbstractContextManager[Members]:
    """The tree of a layer's image, base image included. Raises what `_members_of` raises."""
    return _members_of(job, recipe, lambda _used: make_layer_tree(job, recipe))


@contextmanager
def _members_of(job: Job, recipe: Packaged, make_tree: Callable[[Event], None]) -> Iterator[Members]:
    """Make a tree in the job's folder, and give its members; `make_tree` gets an event that is set after their use.

    Raises BadDeb, BuildError, DiskFull, MachineError, ProgramFailed, and InputError where a recipe asks for what its
    packages do not allow.
    """
    check_clock(job.epoch)
    check_settings(job, recipe)
    used = Event()
    try:
        with program_disk_full(job.folder):
            make_tree(used)
        if is_root():
            with _removed_when_read(job.tree) as members:
                yield _with_folder_times(job, members)
        else:
            command = own_command("rootfs.tree.tar_writer", job.tree)  # only its own namespace can read it
            env = job.environment | OWN_ENVIRONMENT
            with stream(command, env=env, contained="with owners", timeout=READ_TIMEOUT, log=job.log) as archive:
                yield _with_folder_times(job, from_tar(archive))
    finally:
        used.set()
        remove_tree(job.tree)


@contextmanager
def _removed_when_read(tree: Path) -> Iterator[Members]:
    """The members of a tree that is removed, in the background, as soon as the last of them has been read."""
    removal = Thread(target=remove_tree, args=(tree,))

    def members() -> Iterator[Member]:
        yield from from_tree(tree)
        removal.start()

    try:
        yield members()
    finally:
        if removal.ident:
            removal.join()


def _with_folder_times(job: Job, members: Members) -> Members:
    """The members with reproducible times of folders; on a base image they are left as they are."""
    return members if job.base_image else date_folders(members, _base_epoch(job))


def _base_packages(job: Job) -> list[Package]:
    return [package for package in job.lock.packages if package.base or package.essential]


def _base_epoch(job: Job) -> int:
    return local_repository.newest_build_time(job.debs, _base_packages(job))


def make_tree(job: Job, recipe: DebootstrapRecipe, used: Event) -> None:
    """Make the tree, from a cached one if there is one, and cache its essential and base trees after its use."""
    epoch = _base_epoch(job)
    with ExitStack() as locks:
        start, make_start = _find_start(job, recipe, locks)
        plan = make_plan(job, recipe, apt_files.base_files(job, recipe), start, epoch)
        install_packages(job, plan, make_start)
        if job.tree_cache and start.save_to:
            tree_cache.save_in_background(job.tree_cache, start.save_to.values(), locks, used)


def _find_start(job: Job, recipe: DebootstrapRecipe, locks: ExitStack) -> tuple[StartTree, MakeStart | None]:
    """The tree to start from: the cached one of the base packages, else of the essential ones, else one to be made.

    In the last case the function that makes it is returned too. The cache keys of trees that will be made are locked
    until `locks` is closed.
    """
    base, save_to = _base_packages(job), dict[str, Path]()
    essential = [package for package in base if package.essential]
    for kind, packages in {"base": base, "essential": essential}.items():
        if job.tree_cache is None or (kind == "base" and base == essential):
            continue
        key = tree_cache.cache_key(kind, packages, recipe.engine, job.architecture, recipe.suite)
        if found := tree_cache.find_or_lock(job.tree_cache, key, locks):
            job.log(f"the tree of {kind} packages is cached as {key}")
            return StartTree(
                found, local_repository.newest_build_time(job.debs, packages), has_base=kind == "base", save_to=save_to
            ), None
        save_to[kind] = job.folder / f"{key}.tar"
    start = StartTree(None, local_repository.newest_build_time(job.debs, essential), save_to=save_to)
    return start, partial(make_essential_tree, job, recipe, essential, start.epoch)


def make_essential_tree(
    job: Job,
    recipe: DebootstrapRecipe,
    packages: list[Package],
    epoch: int,
    others: Decompressing,
    background: ExitStack,
) -> None:
    """Make the tree of the essential packages with the recipe's bootstrapper.

    `others` starts to decompress the other packages meanwhile; what runs in the background ends when `background` is
    closed. Raises BadDeb, BuildError, MachineError, ProgramFailed, ProgramTimedOut.
    """
    folder, cache = job.repository, job.deb_cache
    background.callback(remove_tree, folder)
    folder.mkdir()
    saver = background.enter_context(ThreadPoolExecutor(1))

    def get_debs() -> list[DecompressedDeb]:
        debs = local_repository.add_packages(folder, job.debs, packages, cache)
        others()
        if cache:
            saver.submit(decompressed.save_to_cache, debs, cache)
        return debs

    try:
        BOOTSTRAPPERS[recipe.engine](job, get_debs, recipe.suite, epoch)
    except ProgramFailed as error:
        raise explain_failure(error) from error


def make_layer_tree(job: Job, recipe: Packaged) -> None:
    """Make the tree of the base image with what the recipe adds."""
    assert job.base_image  # noqa: S101 - a layer has one
    tar = job.base_image.tars[0]
    if len(job.base_image.tars) > 1:
        tar = job.folder / "base.tar"
        with merge_layers(job.base_image.tars) as tree, tar.open("wb") as file:
            file.writelines(tar_chunks(members_of(tree)))
    start = StartTree(tar, job.base_image.epoch, has_base=True, layered=True)
    install_packages(job, make_plan(job, recipe, apt_files.added_files(job, recipe), start, job.base_image.epoch))


def check_clock(epoch: int) -> None:
    """Check that this machine's clock is not before `epoch`: new files would seem old. Raises MachineError."""
    now = time.time()
    if now < epoch:
        raise clock_behind(*(f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M} UTC" for each in (now, epoch)))


def install_packages(job: Job, plan: Plan, make_start: MakeStart | None = None) -> None:
    """Run the installer in namespaces of its own, and raise its errors.

    Its packages are decompressed while the tree that it starts from is made.
    """
    rest = [package for package in job.lock.packages if not (package.essential or (plan.has_base and package.base))]
    with ExitStack() as background:
        others = background.enter_context(decompressed.decompressing(rest, job.debs, plan.debs, job.deb_cache))

        def prepare() -> bytes:
            if make_start:
                make_start(others, background)
            for each in others():
                each.result()
            return b""

        _run_installer(job, plan, prepare, (2 if make_start else 1) * job.limits.seconds)  # the bootstrapper's time too


def _run_installer(job: Job, plan: Plan, prepare: Callable[[], bytes], timeout: float) -> None:
    written, problem = job.folder / "plan.json", job.folder / "problem.json"
    written.write_bytes(_copy_files(job, plan).to_json())
    problem.write_bytes(b" " * PROBLEM_BYTES)
    readable, where = (plan.start,) if plan.start else (), ["packages"]

    def log(line: str) -> None:
        if line.removeprefix(SCRIPT_PREFIX) in plan.scripts:
            where[0] = line
        job.log(line)

    try:
        run(
            own_command_apart("rootfs.install", written, problem),
            env=job.environment | OWN_ENVIRONMENT,
            stdin=prepare,
            contained=for_trees(job.folder, job.limits, readable, title="a program of the tree"),
            timeout=timeout,
            log=log,
        )
    except (LimitReached, ProgramTimedOut) as error:
        error.where = where[0]
        raise
    except ProgramFailed as error:
        if text := problem.read_text().strip():
            raise error_from(json.loads(text)) from error
        raise


def _copy_files(job: Job, plan: Plan) -> Plan:
    """The plan with copies of the recipe's files, which may be links to files that the sandbox does not see."""
    copies = job.folder / "files"
    copies.mkdir()
    for name in {*plan.scripts, *(entry.source for entry in plan.entries if entry.source)}:
        (copies / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(job.files / name, copies / name)
    return replace(plan, files=copies)


def clock_behind(now: str, epoch: str) -> MachineError:
    """The machine's clock is before the dates of the archive that the tree is made of."""
    return MachineError(
        f"this machine's clock says {now}, but the lock's archive was published at {epoch}",
        hint="Set the clock (`timedatectl`), then build again.",
    )
