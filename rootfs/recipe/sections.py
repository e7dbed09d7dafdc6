"""The parts that recipes are made of: what an image runs, its checks, files, users, and further archives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rootfs.network.certificates import FOLDER as CERTIFICATES
from rootfs.recipe import types

TARBALL_NAME = "tarball"  # what the archive is called in a work folder
MAX_TARBALL_BYTES = 8 << 30  # bytes unpacked
MAX_TARBALL_MEMBERS = 250_000  # members

# What a builder adds where an image has none (BuildKit's system.DefaultPathEnvUnix).
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


Key = tuple[str | int, ...]  # the way to a value in a recipe
# Paths that engines put something else over, or that a build empties: what a recipe puts there is in no image.
LOST = {
    "/dev": "engines put their own devices there",
    "/proc": "the kernel's files are there",
    "/sys": "the kernel's files are there",
    "/etc/resolv.conf": "engines put their own file there",
    "/etc/hostname": "engines put their own file there",
    "/tmp": "temporary files are removed from images",  # noqa: S108 - a path in the image
    "/var/tmp": "temporary files are removed from images",  # noqa: S108 - as above
}


class Part(BaseModel):
    """What all parts of a recipe share: nothing unknown, nothing converted, nothing changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageSettings(Part):
    """How a container of the image starts, as in the OCI image configuration."""

    cmd: tuple[str, ...] = Field(
        default=(), description="the command, or the arguments of the entry point, as a list of words"
    )
    entrypoint: tuple[str, ...] = Field(default=(), description="the program that always runs, as a list of words")
    env: dict[types.EnvName, types.Written] = Field(
        default={}, description="environment variables; PATH is added if it is missing"
    )
    versions: dict[types.EnvName, types.PackageName] = Field(
        default={},
        description="environment variables that have the version of a package of the recipe, without what Debian adds: "
        "`JAVA_VERSION: openjdk-21-jre-headless` is 21.0.9",
    )
    user: types.User = Field(default="", description="the user it runs as: NAME, NUMBER or USER:GROUP; default: root")
    workdir: types.FolderPath = Field(default="", description="the folder it starts in, an absolute path")
    labels: dict[types.Label, types.Written] = Field(default={}, description="labels of the image")
    expose: tuple[types.Port, ...] = Field(default=(), description="ports it listens on: 80, 80/tcp, 53/udp")
    volumes: tuple[types.FolderPath, ...] = Field(default=(), description="folders that hold data, absolute paths")
    stop_signal: types.StopSignal = Field(
        default="", description="the signal that stops it: SIGTERM, SIGRTMIN+3 or a number"
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if both := sorted(self.env.keys() & self.versions.keys()):
            raise ValueError(f"{both[0]} is in 'env' and in 'versions'")
        return self


class Repeatable(Part):
    """Why a second build gives a different image."""

    no_because: types.Reason = Field(description="why a second build gives a different image, in a sentence")


def _parse_repeatable(value: object) -> object:
    if value is False:
        raise ValueError("a recipe that is not repeatable says why: {no_because: …}")
    return Repeatable.model_construct(no_because="") if value is True else value


MaybeRepeatable = Annotated[
    Repeatable | None, BeforeValidator(_parse_repeatable, json_schema_input_type=Repeatable | Literal[True])
]


class AllowedKey(Part):
    """Private keys that the image may have."""

    path: types.PathGlob = Field(description="a pattern of their paths, such as /etc/ssh/ssh_host_*_key")
    why: types.Reason = Field(description="why everybody who has the image may have them, in a sentence")


class SmokeCheck(Part):
    """One command that runs in a fresh container of the image, and its expected result."""

    run: types.Command = Field(description="the command, as a list of words")
    status: int = Field(default=0, ge=0, le=255, description="the exit status it must have")
    stdout: types.Regex | None = Field(default=None, description="a regular expression found in its standard output")
    stderr: types.Regex | None = Field(default=None, description="a regular expression found in its standard error")
    timeout: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False, description="seconds it may take")
    files: Annotated[tuple[types.Inside, ...], *types.Distinct] = Field(
        default=(), description="files of the recipe's folder that are in /smoke for this check only"
    )
    packages: Annotated[tuple[types.PackageName, ...], *types.Distinct] = Field(
        default=(), description="packages that are unpacked in /smoke for this check only; for scratch recipes"
    )

    @property
    def brings(self) -> bool:
        """Whether the check needs more than the image."""
        return bool(self.files or self.packages)


class FileEntry(Part):
    """One file, link or folder. It needs exactly one of `from`, `content`, `link` and `folder`."""

    path: types.FilePath = Field(description="where it is in the image, an absolute path")
    source: types.Inside | None = Field(
        default=None, alias="from", description="a file of the recipe's folder, or one that `build` makes"
    )
    content: str | None = Field(default=None, description="the text of the file")
    link: types.Target | None = Field(default=None, description="where a symbolic link points")
    folder: Literal[True] | None = Field(default=None, description="true for an empty folder")
    mode: types.Mode | None = Field(
        default=None,
        description="permissions in octal digits, such as 0644; default: 0755 for folders and executable files,"
        " otherwise 0644",
    )
    owner: types.Owner = Field(
        default="0:0", description="USER:GROUP, each a name that the image has, or a number up to 4294967294"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.source, self.content, self.link, self.folder)) != 1:
            raise ValueError(f"{self.path} needs just one of 'from', 'content', 'link' and 'folder'")
        if self.link is not None and self.mode is not None:
            raise ValueError(f"{self.path} is a link, which has no 'mode'")
        return self


def _check_paths(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Check that each path occurs once, and none is inside a path that is no folder."""
    seen: dict[PurePosixPath, bool] = {}
    for entry in sorted(files, key=lambda entry: PurePosixPath(entry.path)):
        path = PurePosixPath(entry.path)
        if path in seen:
            raise ValueError(f"{path} is there twice")
        if above := [parent for parent in path.parents if seen.get(parent) is False]:
            raise ValueError(f"{path} cannot be inside {above[0]}, which is no folder")
        seen[path] = bool(entry.folder)
    return files


Files = Annotated[tuple[FileEntry, ...], AfterValidator(_check_paths)]


class Repository(Part):
    """An additional package archive, as in deb822 sources (sources.list(5)), with its own keyring."""

    uri: types.ArchiveAddress = Field(description="the archive's address, http:// or https://")
    suites: Annotated[tuple[types.ArchiveSuite, ...], *types.Distinct, *types.NotEmpty] = Field(
        description="suites of the archive to use; one that ends in a slash, such as ./, is a path without components"
    )
    components: Annotated[tuple[types.ArchiveComponent, ...], *types.Distinct, *types.NotEmpty] = Field(
        default=("main",), description="components of the archive to use"
    )
    architectures: Annotated[tuple[types.Architecture, ...], *types.Distinct] = Field(
        default=(), description="architectures that the archive is used for, such as amd64; default: all of the image"
    )
    release: types.ReleaseName | None = Field(
        default=None,
        description="the Suite or Codename in the archive's Release file, where it is not the name in `suites`",
    )
    keyring: types.Inside = Field(
        description="the keyring that its signatures are checked with, a file of the recipe's folder"
    )
    priority: types.Priority | None = Field(
        default=None, description="apt's priority for all its packages (apt_preferences(5)); default: 500"
    )

    @model_validator(mode="after")
    def _paths_have_no_components(self) -> Self:
        paths = [suite for suite in self.suites if suite.endswith("/")]
        if paths and len(paths) < len(self.suites):
            raise ValueError(f"{paths[0]!r} is a path: name it in an entry of its own, apart from suites by name")
        if paths and "components" in self.model_fields_set:
            raise ValueError(f"{paths[0]!r} ends in a slash: it is a path without components. Leave 'components' out")
        return self

    def components_of(self, suite: str) -> tuple[str, ...]:
        """The components of one of its suites; none of a path."""
        return () if suite.endswith("/") else self.components

    def is_for(self, architecture: str) -> bool:
        """Whether it is used in images of this architecture."""
        return not self.architectures or architecture in self.architectures


class PackageSelection(Part):
    """Packages to install and packages to exclude."""

    include: Annotated[tuple[types.QualifiedPackageName, ...], *types.Distinct] = Field(
        default=(),
        description="additional packages; NAME:ARCHITECTURE, such as libc6:i386, for one of another architecture",
    )
    exclude: Annotated[tuple[types.PackageName, ...], *types.Distinct] = Field(
        default=(), description="packages that must not be installed, neither as dependencies nor by the variant"
    )
    recommends: bool = Field(default=False, description="whether to install recommended packages")
    # The digests of recipes that do not set it are those of before there was this key.
    foreign_architectures: Annotated[tuple[types.Architecture, ...], *types.Distinct] = Field(
        default=(),
        exclude_if=lambda value: not value,
        description="further architectures that dpkg and apt in the image install packages of, such as i386 on amd64"
        " (dpkg --add-architecture); those that `include` names are added by themselves",
    )

    def architectures(self, native: str) -> tuple[str, ...]:
        """The architectures of the image: its own, and then the foreign ones."""
        named = (name.partition(":")[2] for name in self.include)
        return tuple(dict.fromkeys((native, *self.foreign_architectures, *filter(None, named))))

    def included(self, native: str) -> tuple[str, ...]:
        """The packages of `include`, those of the image's own architecture without it, as apt and dpkg write them."""
        return tuple(dict.fromkeys(name.removesuffix(f":{native}") for name in self.include))


class AptSources(Part):
    """What apt in the image may install later, from the distribution's own archive.

    The default is what the distribution's official image has, and the components that the recipe itself uses.
    """

    pockets: Annotated[tuple[Literal["updates", "backports", "security"], ...], *types.Distinct] | None = Field(
        default=None,
        description="additional suites; default: updates and security, for Ubuntu also backports",
    )
    components: Annotated[tuple[types.Component, ...], *types.Distinct, *types.NotEmpty] | None = Field(
        default=None,
        description="components of the archive; default: main, for Ubuntu also universe, restricted and multiverse",
    )


class Pin(Part):
    """Which version apt prefers: one entry of apt_preferences(5)."""

    packages: Annotated[tuple[types.PinnedPackage, ...], *types.NotEmpty] = Field(
        description="names of packages, or patterns such as linux-*"
    )
    pin: types.PinRule = Field(description="`version 1.2*`, `release n=trixie-backports` or `origin HOST`")
    priority: types.Priority = Field(
        description="apt's priority; above 1000 allows downgrades, below 0 forbids the packages"
    )
    in_image: bool = Field(
        default=True, description="whether apt in the image has the pin too; else an upgrade there may undo it"
    )


class Group(Part):
    """An additional group."""

    name: types.UserName = Field(description="the group's name")
    gid: types.Id = Field(description="its numeric id")


class User(Part):
    """An additional user. It is locked: nobody can log in with a password."""

    name: types.UserName = Field(description="the user's name")
    uid: types.Id = Field(description="its numeric id")
    group: types.UserName | None = Field(
        default=None, description="its primary group; default: a new one with the same name and number"
    )
    groups: Annotated[tuple[types.UserName, ...], *types.Distinct] = Field(
        default=(), description="additional groups that it belongs to"
    )
    home: types.FolderPath = Field(default="/nonexistent", description="its home folder, created if it does not exist")
    shell: types.FilePath = Field(default="/usr/sbin/nologin", description="its login shell")


def path_contradictions(files: Files) -> Iterator[tuple[Key, str]]:
    """Files that no image has, each with the reason in a sentence."""
    for index, entry in enumerate(files):
        if entry.path.startswith(f"/{CERTIFICATES}/") and not entry.folder and not entry.path.endswith(".crt"):
            why = "update-ca-certificates takes only names that end in .crt: name the file in `certificates`"
            yield ("files", index, "path"), why
        for path in (entry.path, *map(str, PurePosixPath(entry.path).parents)):
            if path in LOST and (path != entry.path or not entry.folder):
                yield ("files", index, "path"), f"an image cannot have {entry.path}: {LOST[path]}"


def account_contradictions(users: Sequence[User], groups: Sequence[Group]) -> Iterator[tuple[Key, str]]:
    """Names and numbers of users and of groups that are there twice."""
    for key, word, ids in (
        ("users", "uid", [(user.name, user.uid) for user in users]),
        ("groups", "gid", [(group.name, group.gid) for group in groups]),
    ):
        for index, (name, number) in enumerate(ids):
            if name in [other for other, _ in ids[:index]]:
                yield (key, index, "name"), f"{name!r} is there twice"
            elif number in [other for _, other in ids[:index]]:
                yield (key, index, word), f"number {number} is there twice"


class PathRules(Part):
    """Files to leave out of the image. dpkg in the image also leaves them out of packages that are installed later."""

    exclude: tuple[types.PathGlob, ...] = Field(default=(), description="patterns of paths, as dpkg's path-exclude")
    include: tuple[types.PathGlob, ...] = Field(
        default=(), description="patterns of excluded paths to keep, as dpkg's path-include"
    )


def is_address(source: str) -> bool:
    """Whether a source is an address, not a file."""
    return source.startswith(("http://", "https://"))


class TarballKeys(Part):
    """An archive with a root filesystem."""

    source: types.FileOrAddress = Field(
        description="a root filesystem as tar, plain or compressed: a file of the recipe's folder, or an address"
    )
    archive: Literal["rootfs", "image"] = Field(
        default="rootfs",
        description="what is in it: a root filesystem, or an image (OCI layout or as engines save it), whose layers "
        "are taken",
    )
    strip: int = Field(
        default=0,
        ge=0,
        le=16,
        description="how many folders to drop from the start of each name, as tar's --strip-components",
    )
    sha256: types.Sha256 | None = Field(
        default=None, description="the archive's sha256, in hex; required for an address"
    )
    signature: types.FileOrAddress | None = Field(
        default=None,
        description="a detached OpenPGP signature of the archive: a file of the recipe's folder, or an address",
    )
    keyring: types.Inside | None = Field(
        default=None, description="the keyring that the signature is checked with, a file of the recipe's folder"
    )
    leave_out: Annotated[tuple[types.PathGlob, ...], *types.Distinct] = Field(
        default=(), description="patterns of paths to leave out, as dpkg's path-exclude"
    )
    setuid: Annotated[tuple[types.PathGlob, ...], *types.Distinct] = Field(
        default=(), description="patterns of files that may be set-uid or set-gid; any other such file is refused"
    )
    devices: bool = Field(
        default=False, description="whether /dev keeps the usual devices (null, zero, full, random, urandom, tty, …)"
    )
    epoch: int | None = Field(
        default=None,
        ge=0,
        lt=1 << 32,
        description="the image's time in seconds since 1970; default: that of its newest member",
    )
    largest: int = Field(
        default=MAX_TARBALL_BYTES, ge=1, lt=1 << 62, description="how many bytes the unpacked archive may have"
    )
    most: int = Field(
        default=MAX_TARBALL_MEMBERS, ge=1, lt=1 << 62, description="how many members the archive may have"
    )

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        if is_address(self.source) and self.sha256 is None:
            raise ValueError("a 'source' that is an address needs 'sha256': what is there may change")
        if (self.signature is None) != (self.keyring is None):
            raise ValueError("'signature' and 'keyring' go together: one is checked with the other")
        return self
