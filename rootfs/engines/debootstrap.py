"""debootstrap: the classic. It makes a suite's base on disk; apt inside then brings updates, security and packages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootfs.engines import TIMEOUT, Job, check_releases, explained, is_root
from rootfs.errors import NeedsRoot
from rootfs.members import Members, from_tree
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import run

# `$1` is the tree, the rest a command in it. Mounts live in the command's own mount namespace and go with it.
INSIDE = 'mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && exec chroot "$@"'
NO_DAEMONS = b"#!/bin/sh\nexit 101\n"  # invoke-rc.d's policy: start nothing
KEYRING = "etc/apt/baseforge.gpg"  # while the tree is being made
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
        run(_command(job, recipe, root), env=job.environment, contained=True, timeout=TIMEOUT, log=job.log)
        _complete(job, recipe, root)
    lists = (root / "var/lib/apt/lists").glob("*_InRelease")
    check_releases(job.lock, [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists])
    yield from_tree(root)


def _command(job: Job, recipe: DebootstrapRecipe, root: Path) -> list[str | Path]:
    base = next(source for source in job.sources if source.suite == recipe.suite)
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
