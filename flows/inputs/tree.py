"""From a lock to the members of a tree: what the steps do, and what is done ahead of them."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path

from flows.inputs.resolve import Inputs
from rootfs.bootstrap.bootstrapper import Job, open_tree, remove_tree
from rootfs.process.run import Log
from rootfs.process.sandbox import Limits
from rootfs.system.disk import program_disk_full
from rootfs.tree.member import Members, within
from rootfs.tree.merge import Stack


def grow(
    wanted: Inputs,
    debs: Path,
    folder: Path,
    running: ExitStack,
    *,
    cache: Path | None,
    log: Log,
    limits: Limits,
    stack: Stack | None = None,
) -> Members:
    """Run the engine until its tree is there. The members are read later, while `running` is open.

    A layer's tree begins with `stack`. `cache` is where trees that many recipes begin with are kept, and compressed
    pieces of layers; None for a build that shall trust nothing of the kind. `limits` hold for what runs in the tree.
    """
    job = Job(
        recipe=wanted.recipe,
        files=wanted.files,
        lock=wanted.lock,
        architecture=wanted.architecture,
        folder=empty_folder(folder / "tree"),
        debs=debs,
        sources_list=wanted.sources_list,
        cache=cache,
        log=log,
        stack=stack,
        below=wanted.lineage[:-1],
        limits=limits,
    )
    with program_disk_full(job.folder), ExitStack() as engine_run:
        members = iter(engine_run.enter_context(open_tree(job)))
        if not wanted.recipe.tarball:  # which has a limit of its own
            members = within(members, limits.disk)
        first = list(islice(members, 1))  # an engine that fails does so before its first member
        running.push(engine_run.pop_all())
    return chain(first, members)


def empty_folder(folder: Path) -> Path:
    """The folder without what an earlier try may have left in it."""
    remove_tree(folder)
    folder.mkdir()
    folder.chmod(0o755)
    return folder
