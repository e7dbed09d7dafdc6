"""Recipes of the kind `dockerfile`, and what can be seen of their Dockerfiles without BuildKit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from rootfs.mask import has_credentials
from rootfs.recipe import types
from rootfs.recipe.base import Recipe
from rootfs.recipe.sections import Key
from rootfs.system.source_tree import is_file

# A line that only BuildKit's directives and comments may come before (frontend/dockerfile/parser/directives.go).
SYNTAX = re.compile(r"\s*(#|//)\s*syntax\s*=", re.IGNORECASE)
ADD = re.compile(r"\s*ADD\s", re.IGNORECASE)
COMMENT = re.compile(r"\s*(#|//|$)")


class DockerfileRecipe(Recipe):
    """The result of a Dockerfile, built through a builder; the recipe's folder is its build context."""

    digests_whole_folder: ClassVar[bool] = True
    installs_certificates: ClassVar[bool] = False
    base_image_keys: ClassVar[tuple[str, ...]] = ("contexts",)

    kind: Literal["dockerfile"] = Field(description="the result of a Dockerfile in the recipe's folder")
    dockerfile: types.Inside = Field(default="Dockerfile", description="the Dockerfile, a file of the recipe's folder")
    target: types.Stage | None = Field(default=None, description="the stage to build; default: the last")
    args: dict[types.EnvName, types.Written] = Field(default={}, description="build arguments (ARG); never secrets")
    contexts: dict[types.Stage, types.Name] = Field(
        default={}, description="a name for FROM and --from = the recipe whose newest image it stands for"
    )
    layers: Literal["shared", "one", "kept"] = Field(
        default="shared",
        description="`shared`: the layers of the base image that the last stage is FROM, and one normalized layer on "
        "them; `one` normalized layer of everything; `kept`: the Dockerfile's own layers, as the builder makes them",
    )
    secrets: Annotated[tuple[types.SecretId, ...], *types.Distinct] = Field(
        default=(), description="ids of secrets for RUN --mount=type=secret; the site's settings name their files"
    )
    ssh: Annotated[tuple[types.SecretId, ...], *types.Distinct] = Field(
        default=(), description="ids for RUN --mount=type=ssh; the site's settings name their keys or agents"
    )
    network: Literal["none", "default"] = Field(
        default="none",
        description="`default` allows it to fetch images and files; the recipe must then set `repeatable`",
    )

    @field_validator("network")
    @classmethod
    def _known_to_repeat(cls, network: str, info: ValidationInfo) -> str:
        if network != "none" and info.data.get("repeatable", True) is None:
            raise ValueError("a build with network has to say whether it is `repeatable`: true, or {no_because: …}")
        return network

    @property
    def online(self) -> bool:
        """Whether its build may fetch anything."""
        return self.network != "none"

    @property
    def base_images(self) -> tuple[str, ...]:
        """Recipes whose newest images the contexts name."""
        return tuple(sorted(set(self.contexts.values())))

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from super().named_files()
        yield ("dockerfile",), self.dockerfile

    def contradictions(self) -> Iterator[tuple[Key, str]]:
        """Keys that cannot work together."""
        yield from super().contradictions()
        if self.certificates and self.layers == "kept":
            why = "`layers: kept` leaves the Dockerfile's layers as they are: leave it out, or COPY the file"
            yield ("certificates",), f"{why} and RUN update-ca-certificates in the Dockerfile"

    def file_problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """(file:line:column, sentence) for what no builder can do anything about."""
        if is_file(folder / self.dockerfile):
            yield from dockerfile_problems(self, folder)


def dockerfile_problems(recipe: DockerfileRecipe, folder: Path) -> Iterator[tuple[str, str]]:
    """(file:line:column, sentence) for what no builder can do anything about.

    What a Dockerfile means is BuildKit's to say; but a `# syntax=` line has it fetch another BuildKit first.
    """
    path = folder / recipe.dockerfile
    yield from _addresses_with_passwords(path)
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not COMMENT.match(line):
                return
            if SYNTAX.match(line) and not recipe.online:
                yield (
                    f"{path}:{number}:1",
                    "a `# syntax=` line fetches an image, and this build has no network: remove the line",
                )


def _addresses_with_passwords(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of an ADD, which may go on over several, whose address has a name or a password."""
    adds = goes_on = False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            adds = adds if goes_on else bool(ADD.match(line))
            goes_on = line.rstrip().endswith("\\")
            if adds and has_credentials(line):
                yield (
                    f"{path}:{number}:1",
                    "this address has a name or a password in it, which the image's history would show: fetch it in"
                    " a RUN that has --mount=type=secret",
                )
