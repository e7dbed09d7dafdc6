"""What recipes of several kinds have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rootfs import fields
from rootfs.builder import NamedOrPlanned
from rootfs.parts import ImageSettings, Part, SmokeCheck


class Common(Part):
    """What every image has, whatever it is made of."""

    name: fields.Name = Field(description="the image's name: the file's name without .yaml")
    description: str = Field(default="", description="what the image is for, in a sentence; not part of the digest")
    image: ImageSettings = Field(default_factory=ImageSettings, description="what a container of the image starts with")
    smoke: tuple[SmokeCheck, ...] = Field(
        default=(), description="commands that must work before the image is published"
    )
    unlinked: Annotated[tuple[fields.PathGlob, ...], *fields.Distinct] = Field(
        default=(), description="patterns of files that may lack libraries in the image, as nothing runs them there"
    )
    builder: NamedOrPlanned | None = Field(
        default=None,
        description="the builder to import the image through: a name, or what it shall be; not part of the digest",
    )
