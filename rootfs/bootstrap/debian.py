"""A tree of Debian packages: the engine makes the essential ones (stage one), our own code all the rest (stage two).

Stage two begins with the base packages, which many recipes have in common: the tree of them is kept, as that of the
essential ones is.
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

from rootfs.bootstrap import debootstrap, local_repository, mmdebstrap, tree_cache
from rootfs.bootstrap.bootstrapper import TIMEOUT, Job, is_root, remove_tree
from rootfs.bootstrap.install_plan import Start, plan_of
from rootfs.errors import MachineError, error_from
from rootfs.install.customize import CUSTOMISE
from rootfs.install.dpkg import explained
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
from rootfs.tree.merge import members_of, tree_of
from rootfs.tree.normalize import folders_dated
from rootfs.tree.tar_writer import frames

# Makes what stage two begins with, while packages for that are being unpacked; what else it begins goes on meanwhile.
Making = Callable[[Decompressing, ExitStack], None]
ROOM = 1 << 17  # bytes for an error of stage two, with what a program printed
# Each makes the tree of the job's repository, whose debs come when they are asked for: packages of a suite, of which
# none is newer than an epoch.
Debs = Callable[[], list[DecompressedDeb]]
ENGINES: dict[str, Callable[[Job, Debs, str, int], None]] = {
    "mmdebstrap": mmdebstrap.stage_one,
    "debootstrap": debootstrap.stage_one,
}


def tree(job: Job, recipe: DebootstrapRecipe) -> AbstractContextManager[Members]:
    """The tree of a debootstrap recipe. Raises as `_members_of`."""
    return _members_of(job, partial(make, job, recipe))


def layer_tree(job: Job, recipe: Packaged) -> AbstractContextManager[Members]:
    """The tree of a layer's image. Raises as `_members_of`."""
    return _members_of(job, lambda _used: make_layer(job, recipe))


@contextmanager
def _members_of(job: Job, make_tree: Callable[[Event], None]) -> Iterator[Members]:
    """The members of a tree, made by `make_tree` in the job's folder, which is told when they are no more `used`.

    Raises BadDeb, MachineError, DiskFull, BuildError, ProgramFailed,
    and where a recipe asks for what cannot be InputError, InputError.
    """
    check_clock(job.epoch)
    used = Event()
    try:
        with program_disk_full(job.folder):
            make_tree(used)
        if is_root():
            with _removed_when_read(job.tree) as members:
                yield _dated(job, members)
        else:
            command = own_command("rootfs.tree.pour", job.tree)  # only its own namespace can read it
            env = job.environment | OWN_ENVIRONMENT
            with stream(command, env=env, contained="with owners", timeout=TIMEOUT, log=job.log) as archive:
                yield _dated(job, from_tar(archive))
    finally:
        used.set()
        remove_tree(job.tree)


@contextmanager
def _removed_when_read(tree: Path) -> Iterator[Members]:
    """The members of a tree that goes when the last has been read, while whoever reads them still works on some."""
    removal = Thread(target=remove_tree, args=(tree,))

    def members() -> Iterator[Member]:
        yield from from_tree(tree)
        removal.start()

    try:
        yield members()
    finally:
        if removal.ident:
            removal.join()


def _dated(job: Job, members: Members) -> Members:
    """The members with folders that tell nothing of how they were made; those of an image below stay as they are."""
    return members if job.stack else folders_dated(members, _base_epoch(job))


def _base(job: Job) -> list[Package]:
    return [package for package in job.lock.packages if package.base or package.essential]


def _base_epoch(job: Job) -> int:
    return local_repository.epoch(job.debs, _base(job))


def make(job: Job, recipe: DebootstrapRecipe, used: Event) -> None:
    """The tree, from a kept one if there is one; trees that it passes through are kept once it is `used`, or soon."""
    epoch = _base_epoch(job)
    with ExitStack() as held:
        start, making = _start(job, recipe, held)
        stage_two(job, plan_of(job, recipe, start, epoch), making)
        if job.kept and start.keep:
            tree_cache.keep_meanwhile(job.kept, start.keep.values(), held, used)


def _start(job: Job, recipe: DebootstrapRecipe, held: ExitStack) -> tuple[Start, Making | None]:
    """What stage two begins with: base packages, else essential ones, else what has to be made first, and how.

    While `held` is open nobody else makes the trees that are to be kept.
    """
    base, keep = _base(job), dict[str, Path]()
    essential = [package for package in base if package.essential]
    for kind, packages in {"base": base, "essential": essential}.items():
        if job.kept is None or (kind == "base" and base == essential):
            continue
        key = tree_cache.key_of(kind, packages, recipe.engine, job.architecture, recipe.suite)
        if found := tree_cache.find_or_hold(job.kept, key, held):
            job.log(f"the tree of {kind} packages is kept as {key}")
            return Start(found, local_repository.epoch(job.debs, packages), has_base=kind == "base", keep=keep), None
        keep[kind] = job.folder / f"{key}.tar"
    start = Start(None, local_repository.epoch(job.debs, essential), keep=keep)
    return start, partial(make_essential, job, recipe, essential, start.epoch)


def make_essential(
    job: Job,
    recipe: DebootstrapRecipe,
    packages: list[Package],
    epoch: int,
    others: Decompressing,
    meanwhile: ExitStack,
) -> None:
    """Make the job's tree of these packages; what begins here beside it goes on until `meanwhile` is closed.

    None of them is newer than `epoch`. `others` are unpacked while the engine runs. Raises BadDeb,
    BuildError, MachineError, ProgramFailed, ProgramTimedOut.
    """
    folder, kept = job.repository, job.kept_debs
    meanwhile.callback(remove_tree, folder)
    folder.mkdir()
    aside = meanwhile.enter_context(ThreadPoolExecutor(1))

    def made() -> list[DecompressedDeb]:
        debs = local_repository.make(folder, job.debs, packages, kept)
        others()
        if kept:
            aside.submit(decompressed.save_to_cache, debs, kept)
        return debs

    try:
        ENGINES[recipe.engine](job, made, recipe.suite, epoch)
    except ProgramFailed as error:
        raise explained(error) from error


def make_layer(job: Job, recipe: Packaged) -> None:
    """The tree of the image below, and what the recipe adds."""
    assert job.stack  # noqa: S101 - a layer has one
    tar = job.stack.tars[0]
    if len(job.stack.tars) > 1:
        tar = job.folder / "below.tar"
        with tree_of(job.stack.tars) as tree, tar.open("wb") as file:
            file.writelines(frames(members_of(tree)))
    stage_two(job, plan_of(job, recipe, Start(tar, job.stack.epoch, has_base=True, whole=True), job.stack.epoch))


def check_clock(epoch: int) -> None:
    """Raises MachineError where this machine's clock is before `epoch`: new files would seem old."""
    now = time.time()
    if now < epoch:
        raise clock_behind(*(f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M} UTC" for each in (now, epoch)))


def stage_two(job: Job, plan: Plan, making: Making | None = None) -> None:
    """Run the program that makes the tree, in namespaces of its own; its errors are ours.

    Packages are unpacked for it while what it begins with is still in the making.
    """
    rest = [package for package in job.lock.packages if not (package.essential or (plan.has_base and package.base))]
    with ExitStack() as meanwhile:
        others = meanwhile.enter_context(decompressed.decompressing(rest, job.debs, plan.debs, job.kept_debs))

        def begin() -> bytes:
            if making:
                making(others, meanwhile)
            for each in others():
                each.result()
            return b""

        _run(job, plan, begin, (2 if making else 1) * job.limits.seconds)  # stage one has its own


def _run(job: Job, plan: Plan, begin: Callable[[], bytes], timeout: float) -> None:
    said, problem = job.folder / "plan.json", job.folder / "problem.json"
    said.write_bytes(_with_files(job, plan).dumped())
    problem.write_bytes(b" " * ROOM)
    readable, doing = (plan.start,) if plan.start else (), ["packages"]

    def log(line: str) -> None:
        if line.removeprefix(CUSTOMISE) in plan.scripts:
            doing[0] = line
        job.log(line)

    try:
        run(
            own_command_apart("rootfs.install", said, problem),
            env=job.environment | OWN_ENVIRONMENT,
            stdin=begin,
            contained=for_trees(job.folder, job.limits, readable, title="a program of the tree"),
            timeout=timeout,
            log=log,
        )
    except (LimitReached, ProgramTimedOut) as error:
        error.where = doing[0]
        raise
    except ProgramFailed as error:
        if text := problem.read_text().strip():
            raise error_from(json.loads(text)) from error
        raise


def _with_files(job: Job, plan: Plan) -> Plan:
    """The plan with copies of the recipe's files, which may be links to what the sandbox does not see."""
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
