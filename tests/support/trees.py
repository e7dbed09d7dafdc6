"""Trees made from tarballs, without a container engine."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.lock.lock import Lock
from rootfs.recipe.sections import TARBALL_NAME
from rootfs.recipe.tarball import TarballRecipe
from rootfs.tree.member import Member, Members


def recipe(**keys: Any) -> TarballRecipe:
    """A recipe of kind tarball whose archive is `rootfs.tar`."""
    said = {"name": "r", "kind": "tarball", "source": "rootfs.tar", **keys}
    return TarballRecipe.model_validate(said, strict=False)


@contextmanager
def grown(data: bytes | Path, place: Path, architecture: str = "amd64", **keys: Any) -> Iterator[Members]:
    """The members of the archive's tree, while the block lasts, made in the folder `place/work`."""
    work, debs = place / "work", place / "debs"
    work.mkdir()
    debs.mkdir()
    if isinstance(data, Path):
        (debs / TARBALL_NAME).symlink_to(data)
    else:
        (debs / TARBALL_NAME).write_bytes(data)
    made = recipe(**keys)
    job = Job(
        recipe=made,
        files=place / "r",
        lock=Lock(),
        architecture=architecture,
        folder=work,
        debs=debs,
        cache=None,
        log=lambda _line: None,
    )
    with open_tree(job) as members:
        yield members


def shown(member: Member) -> bytes | str | None:
    """A file as its content, a folder as None, links by where they lead, devices by their numbers."""
    match member.kind:
        case tarfile.DIRTYPE:
            return None
        case tarfile.SYMTYPE:
            return f"-> {member.link}"
        case tarfile.LNKTYPE:
            return f"= {member.link}"
        case tarfile.CHRTYPE | tarfile.BLKTYPE:
            return "{}:{}".format(*member.device)
        case _:
            assert member.content is not None
            return member.content.read()
