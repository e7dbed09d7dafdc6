"""Everything that decides an image's bytes, gathered before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.image.oci import platform_of
from flows.session import current
from rootfs.archive import Source
from rootfs.lock import Lock, input_digest, native_architecture, recipe_sources, tool_versions
from rootfs.recipe import Recipe, digest, folder_of


@dataclass(frozen=True)
class Inputs:
    """A recipe, what it means today, and the one digest of it all. `files` is the folder of files the recipe names."""

    recipe: Recipe
    files: Path
    architecture: str
    sources: tuple[Source, ...]
    lock: Lock
    tools: dict[str, str]
    recipe_digest: str

    @property
    def digest(self) -> str:
        """The input digest: the same means the same image."""
        return input_digest(self.recipe_digest, self.lock, self.architecture, self.tools)

    @property
    def platform(self) -> str:
        """As registries write it."""
        return "/".join(
            filter(None, (self._platform["os"], self._platform["architecture"], self._platform.get("variant")))
        )

    @property
    def _platform(self) -> dict[str, str]:
        return platform_of(self.architecture)


def gather(recipe: Recipe, file: Path) -> Inputs:
    """Resolve a recipe: asks the archive for the state of its suites, once a session."""
    architecture = native_architecture()
    wanted = recipe_sources(recipe, architecture, current().settings.site)
    return Inputs(
        recipe=recipe,
        files=folder_of(file),
        architecture=architecture,
        sources=wanted,
        lock=Lock(releases=current().releases(wanted)),
        tools=tool_versions(recipe),
        recipe_digest=digest(recipe, folder_of(file)),
    )
