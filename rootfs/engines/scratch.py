"""scratch: an image of nothing but named files, some of which commands make first in a clean folder without network."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rootfs.engines import TIMEOUT, Job
from rootfs.errors import FileNotMade
from rootfs.members import Member, Members
from rootfs.parts import FileEntry
from rootfs.recipe import ScratchRecipe
from rootfs.run import run


@contextmanager
def tree(job: Job) -> Iterator[Members]:
    """The tree of a scratch recipe. No root is needed: owners are written into the members, not onto a disk."""
    recipe = job.recipe
    assert isinstance(recipe, ScratchRecipe)  # noqa: S101 - engine_for chose
    yield _members(recipe, _built(job, recipe))


def _built(job: Job, recipe: ScratchRecipe) -> Path:
    """A copy of the recipe's folder in which its commands have run."""
    folder = job.folder / "build"
    if job.files.is_dir():
        shutil.copytree(job.files, folder, symlinks=True)
    else:
        folder.mkdir()
    environment = {**job.environment, "HOME": str(folder)}
    for command in recipe.build:
        run(command, cwd=folder, env=environment, contained=True, network=False, timeout=TIMEOUT, log=job.log)
    return folder


def _members(recipe: ScratchRecipe, folder: Path) -> Iterator[Member]:
    """Every file below the folders that lead to it, sorted by bytes; folders belong to root and are 0755."""
    entries = {entry.path.lstrip("/"): entry for entry in recipe.files}
    parents = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    for path in sorted(parents | set(entries), key=str.encode):
        if path in entries:
            yield from _file(path, entries[path], folder)
        else:
            yield Member(path, kind=tarfile.DIRTYPE, mode=0o755)


def _file(path: str, entry: FileEntry, folder: Path) -> Iterator[Member]:
    uid, gid = map(int, entry.owner.split(":"))
    if entry.link is not None:
        yield Member(path, kind=tarfile.SYMTYPE, mode=0o777, uid=uid, gid=gid, link=entry.link)
    elif entry.folder:
        yield Member(path, kind=tarfile.DIRTYPE, mode=_mode(entry, runnable=True), uid=uid, gid=gid)
    elif entry.content is not None:
        member = Member(path, mode=_mode(entry, runnable=False), uid=uid, gid=gid)
        yield member.holding(entry.content.encode())
    else:
        yield from _copied(path, entry, folder / str(entry.source), (uid, gid))


def _copied(path: str, entry: FileEntry, file: Path, owner: tuple[int, int]) -> Iterator[Member]:
    if not file.is_file():
        raise FileNotMade(str(entry.source))
    with file.open("rb") as content:
        status = file.stat()
        mode = _mode(entry, runnable=bool(status.st_mode & 0o100))
        yield Member(path, mode=mode, uid=owner[0], gid=owner[1], size=status.st_size, content=content)


def _mode(entry: FileEntry, *, runnable: bool) -> int:
    if entry.mode is not None:
        return int(entry.mode, 8)
    return 0o755 if runnable else 0o644
