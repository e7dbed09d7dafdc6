"""mmdebstrap: apt resolves, everything is unpacked at once, and the tree comes out as a tar.

As root it runs contained; as an ordinary user it makes its own user namespace (`--mode=unshare`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rootfs.engines import TIMEOUT, Job, check_releases, explained, is_root
from rootfs.members import Members, from_tar
from rootfs.recipe import DebootstrapRecipe
from rootfs.run import stream

# The lists are still in the tree when the last hooks run. A hook is a shell command; this one holds no value of ours.
KEEP_RELEASES = 'cp "$1"/var/lib/apt/lists/*_InRelease "$BASEFORGE_RELEASES"'


@contextmanager
def tree(job: Job) -> Iterator[Members]:
    """The tree of a debootstrap recipe, made by mmdebstrap."""
    recipe = job.recipe
    assert isinstance(recipe, DebootstrapRecipe)  # noqa: S101 - engine_for chose
    environment = {**job.environment, "BASEFORGE_RELEASES": str(job.releases)}
    with explained(recipe):
        with stream(
            _command(job, recipe), env=environment, contained=is_root(), timeout=TIMEOUT, log=job.log
        ) as archive:
            yield from_tar(archive)
        check_releases(job)


def _command(job: Job, recipe: DebootstrapRecipe) -> list[str]:
    return [
        "mmdebstrap",
        f"--mode={'root' if is_root() else 'unshare'}",
        "--format=tar",
        f"--variant={recipe.variant}",
        f"--architectures={job.architecture}",
        *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
        f"--customize-hook={KEEP_RELEASES}",
        recipe.suite,
        "-",
        *(source.line for source in job.sources),
    ]
