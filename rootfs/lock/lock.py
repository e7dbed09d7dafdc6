"""The lock: the exact packages that a recipe resolves to; and the digest of all inputs of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard
from debian_inspector.version import compare_versions
from pydantic import BaseModel, ConfigDict, Field

from rootfs.process.host import package_versions, toolchain_programs
from rootfs.recipe.base import Recipe
from rootfs.system.digests import canonical_digest, sha256_of_file

BUILD_REVISION = 9  # raised when the same inputs give other bytes because this program changed
BASES_REVISION = 1  # the same for images of Dockerfiles that have base images, and for no others


class Release(BaseModel):
    """A signed Release file: one state of a suite.

    `date` and `valid_until` are its `Date:` and `Valid-Until:` in seconds since 1970, `signer` the key's fingerprint.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    suite: str
    sha256: str
    date: int
    signer: str
    valid_until: int | None = None


class Package(BaseModel):
    """One deb. `sha256` is in hex, `size` in bytes, `archive` the archive's own address, `path` the path in it.

    `essential` packages are installed first, `base` ones belong to the recipe's variant, and `auto` ones are only
    dependencies of others.
    """

    model_config = ConfigDict(frozen=True)

    # Debian Policy 5.6.7 and 5.6.12; names of files are made of these.
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9.+~:-]+$")
    architecture: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    source: str
    archive: str
    suite: str
    path: str
    essential: bool = False
    base: bool = False
    auto: bool = False

    @property
    def digest(self) -> str:
        """The digest of its blob."""
        return f"sha256:{self.sha256}"

    @property
    def file_name(self) -> str:
        """The name of its file, as apt names it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class Lock(BaseModel):
    """The exact packages that a recipe resolves to, and the Release files that list them.

    `tarball` is the digest (`sha256:HEX`) of a tarball recipe's archive. If it is empty, it is not part of the digest.
    """

    model_config = ConfigDict(frozen=True)

    releases: tuple[Release, ...] = ()
    packages: tuple[Package, ...] = ()
    tarball: str = ""

    @property
    def epoch(self) -> int:
        """`SOURCE_DATE_EPOCH`: the newest date of the Release files, 0 if there are none; never the clock."""
        return max((release.date for release in self.releases), default=0)

    @property
    def digest(self) -> str:
        """sha256 of the lock as canonical JSON."""
        return canonical_digest(self.model_dump(mode="json", exclude=set() if self.tarball else {"tarball"}))


def input_digest(
    recipe_digest: str,
    lock: Lock,
    architecture: str,
    tools: Mapping[str, str],
    parent: str = "",
    bases: Mapping[str, str] | None = None,
) -> str:
    """The digest of everything that decides an image's bytes: the same inputs mean the same image.

    `parent` is the manifest digest of a layer's base image, `bases` has those of a Dockerfile's base images by name.
    """
    return canonical_digest(
        {
            "recipe": recipe_digest,
            "lock": lock.digest,
            "architecture": architecture,
            "tools": dict(tools),
            "revision": BUILD_REVISION,
            **({"parent": parent} if parent else {}),
            **({"bases": dict(bases), "bases_revision": BASES_REVISION} if bases else {}),
        }
    )


def tool_versions(recipe: Recipe, toolchains: Sequence[Path] = ()) -> dict[str, str]:
    """The versions of the programs that make this recipe's image; of a toolchain's program, its digest.

    Raises MachineError.
    """
    compressor = ".".join(map(str, zstandard.ZSTD_VERSION))
    own = toolchain_programs(recipe.host_tools, toolchains)
    packages = tuple(name for name in recipe.host_tools if name not in own)
    digests = {name: f"sha256:{sha256_of_file(program)}" for name, program in own.items()}
    return {**package_versions(packages), **digests, "zstd": compressor}


def are_newer(tools: Mapping[str, str], than: Mapping[str, str]) -> bool:
    """Whether these are the same tools, each in the same version or, as Debian orders versions, a newer one."""
    return tools.keys() == than.keys() and all(
        version == than[name] or is_newer(version, than[name]) for name, version in tools.items()
    )


def is_newer(version: str, than: str) -> bool:
    """Whether a version is newer than another one, as Debian orders them; False for what is no version."""
    try:
        return bool(compare_versions(version, than) > 0)
    except ValueError:  # of what has no version, such as a digest
        return False
