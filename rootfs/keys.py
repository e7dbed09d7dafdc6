"""The keys that several kinds of recipe have."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rootfs import fields
from rootfs.builder import NamedOrPlanned
from rootfs.parts import Group, ImageSettings, Part, PathRules, Pin, Repository, SmokeCheck, User

SLIM = "files to leave out: documentation (copyright files stay), manual pages, translations"
Slim = Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct]


class Common(Part):
    """What every kind of recipe has."""

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


class Sources(Part):
    """The archives of a recipe, and the state of them that is meant."""

    pockets: Annotated[tuple[Literal["updates", "security"], ...], *fields.Distinct] = Field(
        default=("updates", "security"), description="suites with newer packages that come with it"
    )
    components: Annotated[tuple[fields.Component, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        default=("main",), description="parts of the archive that packages may come from"
    )
    repositories: tuple[Repository, ...] = Field(default=(), description="further archives")
    pins: tuple[Pin, ...] = Field(default=(), description="which versions apt prefers")
    lock: fields.Inside | None = Field(
        default=None, description="a lock file in the recipe's folder (`baseforge lock --write`) instead of the newest"
    )
    snapshot: fields.Snapshot | None = Field(
        default=None, description="a moment of the snapshot archive, as 20261101T000000Z, instead of the newest"
    )

    @model_validator(mode="after")
    def _one_state(self) -> Self:
        if self.lock is not None and self.snapshot is not None:
            raise ValueError("'lock' and 'snapshot' exclude each other: each says which packages are meant")
        return self


class Origin(Sources):
    """What apt is asked for. The variant `none` is nothing but what is included."""

    suite: fields.Suite = Field(description="the distribution's code name: noble, trixie, …")
    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard", "none"] = "none"
    include: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(default=(), description="further packages")
    exclude: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that must not come along, as dependencies or with the variant"
    )
    recommends: bool = Field(default=False, description="whether recommended packages come along")


class Contents(Part):
    """What an image of packages has besides them, and lacks of them."""

    paths: PathRules = Field(default_factory=PathRules, description="further files to leave out")
    groups: tuple[Group, ...] = Field(default=(), description="further groups")
    users: tuple[User, ...] = Field(default=(), description="further users")
    locale: fields.Locale | None = Field(
        default=None, description="LANG of the image, such as C.UTF-8 or de_DE.UTF-8; the latter needs `locales`"
    )
    timezone: fields.Timezone | None = Field(
        default=None, description="the time zone, such as Europe/Berlin, which needs `tzdata`; UTC where none is said"
    )
