"""debootstrap: the classic. It makes a suite's base on disk; apt inside then brings updates, security and packages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootfs.archive import Source
from rootfs.engines import TIMEOUT, Job, check_releases, explained, is_root
from rootfs.errors import ArchiveUnreachable, NeedsRoot, ProgramFailed
from rootfs.members import Members, from_tree
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import run

# `$1` is the tree, the rest a command in it. Mounts live in the command's own mount namespace and go with it.
INSIDE = 'mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && exec chroot "$@"'
NO_DAEMONS = b"#!/bin/sh\nexit 101\n"  # invoke-rc.d's policy: start nothing
KEYRING = "etc/apt/baseforge.gpg"  # while the tree is being made
# wget would try each file 20 times with longer and longer naps, and wait 15 minutes for a byte: hours, with an archive
# that breaks off. The step as a whole is tried again.
WGETRC = "tries = 3\nwaitretry = 0\ntimeout = 30\n"
UNFETCHED = re.compile(
    r"^E: (?:Couldn't download (?:packages: )?|Failed getting release (?:signature )?file )(.+)", re.M
)
VARIANTS = {"important": "-", "minbase": "minbase", "buildd": "buildd"}


@contextmanager
def tree(job: Job) -> Iterator[Members]:
    """The tree of a debootstrap recipe, made by debootstrap. Raises NeedsRoot for an ordinary user."""
    recipe = job.recipe
    assert isinstance(recipe, DebootstrapRecipe)  # noqa: S101 - engine_for chose
    if not is_root():
        raise NeedsRoot("debootstrap")
    root = job.folder / "tree"
    with explained(recipe):
        _base(job, recipe, root)
        _complete(job, recipe, root)
    lists = (root / "var/lib/apt/lists").glob("*_InRelease")
    check_releases(job.lock, [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists])
    yield from_tree(root)


def _base(job: Job, recipe: DebootstrapRecipe, root: Path) -> None:
    """What debootstrap itself makes. Raises ArchiveUnreachable when it could not fetch something."""
    base = next(source for source in job.sources if source.suite == recipe.suite)
    settings = job.folder / "wgetrc"
    settings.write_text(WGETRC)
    environment = {**job.environment, "WGETRC": str(settings)}
    try:
        run(_command(job, recipe, root, base), env=environment, contained=True, timeout=TIMEOUT, log=job.log)
    except ProgramFailed as error:
        if broken := UNFETCHED.search(error.output):
            raise ArchiveUnreachable(base.mirror, f"these could not be fetched: {broken[1].strip()}") from error
        raise


def _command(job: Job, recipe: DebootstrapRecipe, root: Path, base: Source) -> list[str | Path]:
    return [
        "debootstrap",
        f"--variant={VARIANTS[recipe.variant]}",
        f"--arch={job.architecture}",
        f"--components={','.join(recipe.components)}",
        f"--keyring={base.keyring}",
        "--force-check-gpg",
        recipe.suite,
        root,
        base.mirror,
    ]


def _complete(job: Job, recipe: DebootstrapRecipe, root: Path) -> None:
    """Bring the base to what the lock says: newer packages of the other suites, then what the recipe includes."""
    keyring = root / KEYRING
    lines = [source.line.replace(str(source.keyring), f"/{KEYRING}") for source in job.sources]
    _put(root / "usr/sbin/policy-rc.d", NO_DAEMONS, 0o755)
    _put(keyring, job.sources[0].keyring.read_bytes(), 0o644)
    _put(root / "etc/apt/sources.list", "\n".join([*lines, ""]).encode(), 0o644)
    _apt(job, root, "update", "--error-on=any")
    _apt(job, root, "dist-upgrade")
    if recipe.include:
        _apt(job, root, "install", *recipe.include)
    keyring.unlink()


def _put(path: Path, data: bytes, mode: int) -> None:
    """A file in the tree whose mode does not depend on the user's umask."""
    path.write_bytes(data)
    path.chmod(mode)


APT = ("apt-get", "--yes", "--quiet", "--option=APT::Install-Recommends=false", "--option=Acquire::Languages=none")


def _apt(job: Job, root: Path, *words: str) -> None:
    run(
        ["sh", "-c", INSIDE, "sh", root, *APT, *words],
        env={**job.environment, "TMPDIR": "/tmp"},  # noqa: S108 - the tree's own
        contained=True,
        timeout=TIMEOUT,
        log=job.log,
    )
