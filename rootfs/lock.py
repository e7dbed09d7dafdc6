"""What a recipe means today: the state of its archives, and the digest of everything that goes into the image."""

from __future__ import annotations

from collections.abc import Mapping

import zstandard
from pydantic import BaseModel, ConfigDict

from rootfs.archive import Release, Site, Source, sources
from rootfs.digests import digest_of
from rootfs.errors import ToolsMissing
from rootfs.recipe import DebootstrapRecipe, Recipe, ScratchRecipe
from rootfs.run import run

BUILD_REVISION = 1  # raised when the same inputs give other bytes because this program changed

ENGINE_TOOLS = {"mmdebstrap": ("apt", "dpkg", "mmdebstrap"), "debootstrap": ("debootstrap", "dpkg")}


class Lock(BaseModel):
    """The Release files a recipe was resolved against; none for a recipe without packages."""

    model_config = ConfigDict(frozen=True)

    releases: tuple[Release, ...] = ()

    @property
    def epoch(self) -> int:
        """`SOURCE_DATE_EPOCH`: the newest date of the Release files; 1970 where there are none, never the clock."""
        return max((release.date for release in self.releases), default=0)

    @property
    def digest(self) -> str:
        """sha256 of the lock as canonical JSON."""
        return digest_of(self.model_dump(mode="json"))


def recipe_sources(recipe: Recipe, architecture: str, site: Site) -> tuple[Source, ...]:
    """The suites a recipe takes packages from."""
    if isinstance(recipe, ScratchRecipe):
        return ()
    return sources(recipe.suite, recipe.pockets, recipe.components, architecture, site)


def input_digest(recipe_digest: str, lock: Lock, architecture: str, tools: Mapping[str, str]) -> str:
    """The digest of everything that decides an image's bytes: the same inputs mean the same image."""
    return digest_of(
        {
            "recipe": recipe_digest,
            "lock": lock.digest,
            "architecture": architecture,
            "tools": dict(tools),
            "revision": BUILD_REVISION,
        }
    )


def tool_versions(recipe: Recipe) -> dict[str, str]:
    """The versions of the programs that make this recipe's image. Raises ToolsMissing."""
    packages = ENGINE_TOOLS[recipe.engine] if isinstance(recipe, DebootstrapRecipe) else recipe.tools
    compressor = ".".join(map(str, zstandard.ZSTD_VERSION))
    return {**package_versions(packages), "zstd": compressor}


def package_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of Debian packages on this machine. Raises ToolsMissing for those that are not."""
    if not packages:
        return {}
    shown = run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\n", *packages], check=False
    )
    lines = [line.split() for line in shown.stdout.splitlines()]
    found = {words[1]: words[2] for words in lines if words[0] == "installed"}
    if missing := [package for package in packages if package not in found]:
        raise ToolsMissing(missing)
    return found


def native_architecture() -> str:
    """Debian's name for this machine's architecture (`amd64`, `arm64`, …)."""
    return run(["dpkg", "--print-architecture"]).stdout.strip()
