"""A tree of Debian packages: the engine makes the essential ones (stage one), our own code all the rest (stage two).

Stage two begins with the base packages, which many recipes have in common: the tree of them is kept, as that of the
essential ones is.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread

from rootfs import errors
from rootfs.common import Packaged
from rootfs.disk import FULL
from rootfs.engines import TIMEOUT, Job, debootstrap, is_root, kept, mmdebstrap, own, plain, remove_tree, repository
from rootfs.engines.foresight import foreseeing
from rootfs.engines.plain import Unpacking
from rootfs.engines.plan import Start, plan_of
from rootfs.errors import ClockBehind, DiskFull, Problem, ProgramFailed
from rootfs.lock import Package
from rootfs.members import Member, Members, from_tar, from_tree
from rootfs.merge import members_of, tree_of
from rootfs.normalise import folders_dated
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import run, stream
from rootfs.stage_two.base import TAR
from rootfs.stage_two.install import explained
from rootfs.stage_two.plan import Plan
from rootfs.tar import frames

STAGE_ONE: dict[str, Callable[[Job, Path, str, int, Path], None]] = {
    "mmdebstrap": mmdebstrap.stage_one,
    "debootstrap": debootstrap.stage_one,
}
# Makes what stage two begins with, while packages for that are being unpacked; what else it begins goes on meanwhile.
Making = Callable[[Unpacking, ExitStack], None]
ROOM = 1 << 17  # bytes for an error of stage two, with what a program printed


@contextmanager
def tree(job: Job) -> Iterator[Members]:
    """The tree that the job's lock and recipe mean.

    Raises BadDeb, ClockBehind, DiskFull, NeedsRoot, MaintainerScriptFailed, NotTheLock, ProgramFailed, ScriptFailed,
    and where a recipe asks for what cannot be AccountClash, FileClash, LocaleMissing, TimezoneMissing.
    """
    recipe = job.recipe
    assert isinstance(recipe, Packaged)  # noqa: S101 - engine_for chose
    check_clock(job.epoch)
    later = ExitStack()
    try:
        with _room(job.folder):
            if isinstance(recipe, DebootstrapRecipe):
                make(job, recipe, later)
            else:
                make_layer(job, recipe)
        if is_root():
            with _removed_when_read(job.tree) as members:
                yield _dated(job, members)
        else:
            command = [*TAR, "--file=-", f"--directory={job.tree}", "."]  # only its own namespace can read it
            with stream(command, contained="with owners", timeout=TIMEOUT, log=job.log) as archive:
                yield _dated(job, from_tar(archive))
    finally:
        later.close()
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
    return repository.epoch(job.debs, _base(job))


def make(job: Job, recipe: DebootstrapRecipe, later: ExitStack) -> None:
    """The tree, from a kept one with the base packages if there is one; else that is made first, and kept.

    Keeping goes on until `later` is closed.
    """
    essential = [package for package in job.lock.packages if package.essential]
    base, epoch = _base(job), _base_epoch(job)
    if job.kept is None or base == essential:
        start, making = stage_one(job, recipe, essential, later)
        stage_two(job, plan_of(job, recipe, start, epoch), making)
        return
    key = kept.key_of("base", base, recipe.engine, job.architecture, recipe.suite)
    with ExitStack() as held:
        held.enter_context(kept.one_at_a_time(job.kept, key))
        found = kept.find(job.kept, key)
        if not found:
            start, making = stage_one(job, recipe, essential, later)
            start = replace(start, keep=(tar := job.folder / "base.tar"))
            stage_two(job, plan_of(job, recipe, start, epoch), making)
            kept.keep_meanwhile(job.kept, key, tar, held, later)
            return
    job.log(f"the tree of base packages is kept as {key}")
    stage_two(job, plan_of(job, recipe, Start(found, epoch, has_base=True), epoch))


def make_layer(job: Job, recipe: Packaged) -> None:
    """The tree of the image below, and what the recipe adds."""
    assert job.stack  # noqa: S101 - a layer has one
    tar = job.stack.tars[0]
    if len(job.stack.tars) > 1:
        tar = job.folder / "below.tar"
        with tree_of(job.stack.tars) as tree, tar.open("wb") as file:
            file.writelines(frames(members_of(tree)))
    stage_two(job, plan_of(job, recipe, Start(tar, job.stack.epoch, has_base=True, whole=True), job.stack.epoch))


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Raises DiskFull for whatever fails, here or in a program, because no space is left."""
    try:
        yield
    except (Problem, OSError) as error:
        said = error.output if isinstance(error, Problem) else str(error)
        if any(os.strerror(number) in said for number in FULL):
            raise DiskFull(folder) from error
        raise


def check_clock(epoch: int) -> None:
    """Raises ClockBehind where this machine's clock is before `epoch`: new files would seem old."""
    now = time.time()
    if now < epoch:
        raise ClockBehind(*(f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M} UTC" for each in (now, epoch)))


def stage_one(
    job: Job, recipe: DebootstrapRecipe, essential: list[Package], later: ExitStack
) -> tuple[Start, Making | None]:
    """The tree of the essential packages: a kept one, or one that has to be made first, and is then kept."""
    epoch, made = repository.epoch(job.debs, essential), job.folder / "stage-one.tar"
    if job.kept is None:
        return Start(made, epoch), partial(_make, job, recipe, essential, epoch, made)
    folder, key = job.kept, kept.key_of("essential", essential, recipe.engine, job.architecture, recipe.suite)
    with ExitStack() as held:
        held.enter_context(kept.one_at_a_time(folder, key))
        if found := kept.find(folder, key):
            job.log(f"the tree of essential packages is kept as {key}")
            return Start(found, epoch), None
        lock = later.enter_context(held.pop_all())

    def make_and_keep(others: Unpacking, meanwhile: ExitStack) -> None:
        _make(job, recipe, essential, epoch, made, others, meanwhile)
        kept.keep_meanwhile(folder, key, made, lock, later)

    return Start(made, epoch), make_and_keep


def _make(
    job: Job,
    recipe: DebootstrapRecipe,
    essential: list[Package],
    epoch: int,
    made: Path,
    others: Unpacking,
    meanwhile: ExitStack,
) -> None:
    folder, kept = job.repository, job.kept_debs
    meanwhile.callback(remove_tree, folder)
    debs = repository.make(folder, job.debs, essential, recipe.suite, job.architecture, kept=kept)
    meanwhile.enter_context(foreseeing(job, recipe, debs, others(), _base_epoch(job)))
    try:
        with ThreadPoolExecutor(1) as aside:
            if kept:
                aside.submit(plain.keep, debs, kept)
            STAGE_ONE[recipe.engine](job, folder, recipe.suite, epoch, made)
    except ProgramFailed as error:
        raise explained(error) from error


def stage_two(job: Job, plan: Plan, making: Making | None = None) -> None:
    """Run the program that makes the tree, in namespaces of its own; its errors are ours.

    Packages are unpacked for it while what it begins with is still in the making.
    """
    rest = [package for package in job.lock.packages if not (package.essential or (plan.has_base and package.base))]
    with ExitStack() as meanwhile:
        others = meanwhile.enter_context(plain.unpacking(rest, job.debs, plan.debs, job.kept_debs))

        def begin() -> bytes:
            if making:
                making(others, meanwhile)
            for each in others():
                each.result()
            return b""

        _run(job, plan, begin, 2 * TIMEOUT if making else TIMEOUT)  # stage one has its own


def _run(job: Job, plan: Plan, begin: Callable[[], bytes], timeout: float) -> None:
    said, problem = job.folder / "plan.json", job.folder / "problem.json"
    said.write_bytes(plan.dumped())
    problem.write_bytes(b" " * ROOM)
    try:
        run(
            own.command("rootfs.stage_two", said, problem),
            env=job.environment | own.ENVIRONMENT,
            stdin=begin,
            contained="with owners",
            network=False,
            timeout=timeout,
            log=job.log,
        )
    except ProgramFailed as error:
        if text := problem.read_text().strip():
            raise _told(text) from error
        raise


def _told(text: str) -> Problem:
    """The error that stage two wrote down."""
    kind, what, where, mend, output = json.loads(text)
    problem: Problem = getattr(errors, kind).__new__(getattr(errors, kind))
    Problem.__init__(problem, what, where=where, mend=mend, output=output)
    return problem
