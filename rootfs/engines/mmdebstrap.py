"""mmdebstrap: apt resolves, everything is unpacked at once, and the tree comes out as a tar.

As root it runs contained; as an ordinary user it makes its own user namespace (`--mode=unshare`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rootfs.engines import TIMEOUT, Job, check_releases, explained, is_root
from rootfs.members import Members, from_tar
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import stream

# The lists are still in the tree when the last hooks run. A hook is a shell command; this one holds no value of ours,
# and speaks through standard error as an ordinary user's hook may write nowhere.
SHOW_RELEASES = 'sha256sum "$1"/var/lib/apt/lists/*_InRelease >&2'
RELEASE = re.compile(r"([0-9a-f]{64})  \S+_InRelease")


@contextmanager
def tree(job: Job) -> Iterator[Members]:
    """The tree of a debootstrap recipe, made by mmdebstrap."""
    recipe, seen = job.recipe, list[str]()
    assert isinstance(recipe, DebootstrapRecipe)  # noqa: S101 - engine_for chose

    def log(line: str) -> None:
        if release := RELEASE.fullmatch(line):
            seen.append(release[1])
        job.log(line)

    with explained(recipe):
        with stream(
            _command(job, recipe), env=job.environment, contained=is_root(), timeout=TIMEOUT, log=log
        ) as archive:
            yield from_tar(archive)
        check_releases(job.lock, seen)


def _packages(recipe: DebootstrapRecipe) -> tuple[str, ...]:
    """What is installed on top of the variant: every variant but `essential` has apt, as debootstrap's have.

    mmdebstrap before 1.4 leaves it out where the archive does not call it required, as Ubuntu's does not.
    """
    return recipe.include if recipe.variant == "essential" else ("apt", *recipe.include)


def _command(job: Job, recipe: DebootstrapRecipe) -> list[str]:
    return [
        "mmdebstrap",
        f"--mode={'root' if is_root() else 'unshare'}",
        "--format=tar",
        f"--variant={recipe.variant}",
        f"--architectures={job.architecture}",
        *(f"--include={package}" for package in _packages(recipe)),
        f"--customize-hook={SHOW_RELEASES}",
        recipe.suite,
        "-",
        *(source.line for source in job.sources),
    ]
