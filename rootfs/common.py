"""What recipes of several kinds have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rootfs import fields
from rootfs.builder import NamedOrPlanned
from rootfs.parts import Files, Group, ImageSettings, Part, PathRules, Pin, Repository, SmokeCheck, User


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


class Packaged(Common):
    """What makes a tree of packages one's own, whatever they are laid on."""

    include: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(default=(), description="further packages")
    exclude: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that must not come along, as dependencies or with the variant"
    )
    recommends: bool = Field(default=False, description="whether recommended packages come along")
    repositories: tuple[Repository, ...] = Field(default=(), description="further archives")
    pins: tuple[Pin, ...] = Field(default=(), description="which versions apt prefers")
    lock: fields.Inside | None = Field(
        default=None, description="a lock file in the recipe's folder (`baseforge lock --write`) instead of the newest"
    )
    slim: Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct] = Field(
        default=(), description="files to leave out: documentation (copyright files stay), manual pages, translations"
    )
    paths: PathRules = Field(default_factory=PathRules, description="further files to leave out")
    files: Files = Field(default=(), description="files, links and folders laid over the packages'")
    groups: tuple[Group, ...] = Field(default=(), description="further groups")
    users: tuple[User, ...] = Field(default=(), description="further users")
    customise: tuple[fields.Inside, ...] = Field(
        default=(), description="scripts of the recipe's folder, run inside the tree, in order and without network"
    )
    locale: fields.Locale | None = Field(
        default=None, description="LANG of the image, such as C.UTF-8 or de_DE.UTF-8; the latter needs `locales`"
    )
    timezone: fields.Timezone | None = Field(
        default=None, description="the time zone, such as Europe/Berlin, which needs `tzdata`; UTC where none is said"
    )
    package_manager: Literal["keep", "remove"] = Field(
        default="keep", description="`remove` takes apt and dpkg out of an image that shall not change"
    )
