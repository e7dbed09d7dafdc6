"""Where a recipe's packages come from, and which ones apt is asked for: the keys of every kind that has packages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rootfs import fields
from rootfs.parts import Group, Part, PathRules, Pin, Repository, User


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
