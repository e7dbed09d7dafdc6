"""What recipes of several kinds have in common."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from rootfs import fields
from rootfs.builder import NamedOrPlanned
from rootfs.parts import Files, Group, ImageSettings, Part, PathRules, Pin, Repository, SmokeCheck, User

SLIM = "files to leave out: documentation (copyright files stay), manual pages, translations"
Slim = Annotated[tuple[Literal["docs", "man", "locales"], ...], *fields.Distinct]


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
    platforms: Annotated[tuple[fields.KnownPlatform, ...], *fields.Distinct] = Field(
        default=(),
        description="what it is built for, such as linux/amd64 and linux/arm64; default: the machine's own platform;"
        " not part of the digest",
    )
    builder: NamedOrPlanned | None = Field(
        default=None,
        description="the builder to import the image through: a name, or what it shall be; not part of the digest",
    )

    @property
    def origin(self) -> Origin | None:
        """What apt is asked for by this recipe alone; None where it has no packages of its own."""
        return None

    @property
    def alone(self) -> tuple[str, ...]:
        """Packages that are asked for without those they depend on."""
        return ()


class Archives(Part):
    """Further archives, what is preferred, and a lock instead of the newest."""

    repositories: tuple[Repository, ...] = Field(default=(), description="further archives")
    pins: tuple[Pin, ...] = Field(default=(), description="which versions apt prefers")
    lock: fields.Inside | None = Field(
        default=None, description="a lock file in the recipe's folder (`baseforge lock --write`) instead of the newest"
    )


class Sources(Archives):
    """A distribution's archives besides, and the state of them that is meant."""

    pockets: Annotated[tuple[Literal["updates", "security"], ...], *fields.Distinct] = Field(
        default=("updates", "security"), description="suites with newer packages that come with it"
    )
    components: Annotated[tuple[fields.Component, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        default=("main",), description="parts of the archive that packages may come from"
    )
    snapshot: fields.Snapshot | None = Field(
        default=None, description="a moment of the snapshot archive, as 20261101T000000Z, instead of the newest"
    )

    @model_validator(mode="after")
    def _one_state(self) -> Self:
        if self.lock is not None and self.snapshot is not None:
            raise ValueError("'lock' and 'snapshot' exclude each other: each says which packages are meant")
        return self


class Wishes(Part):
    """Packages that shall be there, and ones that shall not."""

    include: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(default=(), description="further packages")
    exclude: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that must not come along, as dependencies or with the variant"
    )
    recommends: bool = Field(default=False, description="whether recommended packages come along")


class Origin(Wishes, Sources):
    """What apt is asked for. The variant `none` is nothing but what is included."""

    suite: fields.Suite = Field(description="the distribution's code name: noble, trixie, …")
    variant: Literal["essential", "apt", "minbase", "buildd", "important", "standard", "none"] = "none"


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


class Packaged(Contents, Wishes, Archives, Common):
    """What makes a tree of installed packages one's own, whatever they are laid on."""

    slim: Slim = Field(default=(), description=SLIM)
    files: Files = Field(default=(), description="files, links and folders laid over the packages'")
    customise: tuple[fields.Inside, ...] = Field(
        default=(), description="scripts of the recipe's folder, run inside the tree, in order and without network"
    )
    package_manager: Literal["keep", "remove"] = Field(
        default="keep", description="`remove` takes apt and dpkg out of an image that shall not change"
    )

    @field_validator("smoke")
    @classmethod
    def _installed(cls, checks: tuple[SmokeCheck, ...]) -> tuple[SmokeCheck, ...]:
        if any(check.packages for check in checks):
            raise ValueError("only scratch recipes bring 'packages' for a check: name them in 'include'")
        return checks
