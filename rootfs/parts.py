"""The parts that recipes are made of: what an image runs, its checks, files, users, and further archives."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rootfs import fields


class Part(BaseModel):
    """What all parts of a recipe share: nothing unknown, nothing converted, nothing changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageSettings(Part):
    """What a container of the image starts with, as in the OCI image configuration."""

    cmd: tuple[str, ...] = Field(
        default=(), description="the command, or the arguments of the entry point, as a list of words"
    )
    entrypoint: tuple[str, ...] = Field(default=(), description="the program that always runs, as a list of words")
    env: dict[fields.EnvName, str] = Field(
        default={}, description="environment variables; PATH is added where it is missing"
    )
    user: fields.User = Field(
        default="", description="the user it runs as: NAME, NUMBER or USER:GROUP; root where none is said"
    )
    workdir: fields.FolderPath = Field(default="", description="the folder it starts in, an absolute path")
    labels: dict[fields.Label, str] = Field(default={}, description="labels of the image")
    expose: tuple[fields.Port, ...] = Field(default=(), description="ports it listens on: 80, 80/tcp, 53/udp")
    volumes: tuple[fields.FolderPath, ...] = Field(default=(), description="folders that hold data, absolute paths")
    stop_signal: fields.StopSignal = Field(
        default="", description="the signal that stops it: SIGTERM, SIGRTMIN+3 or a number"
    )


class SmokeCheck(Part):
    """One command that runs in a fresh container of the image, and what must be true of its end."""

    run: fields.Command = Field(description="the command, as a list of words")
    status: int = Field(default=0, ge=0, le=255, description="the exit status it must have")
    stdout: fields.Regex | None = Field(default=None, description="a regular expression found in its standard output")
    stderr: fields.Regex | None = Field(default=None, description="a regular expression found in its standard error")
    timeout: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False, description="seconds it may take")
    files: Annotated[tuple[fields.Inside, ...], *fields.Distinct] = Field(
        default=(), description="files of the recipe's folder that are in /smoke for this check alone"
    )
    packages: Annotated[tuple[fields.Package, ...], *fields.Distinct] = Field(
        default=(), description="packages that are unpacked in /smoke for this check alone; for scratch recipes"
    )

    @property
    def brings(self) -> bool:
        """Whether the check needs more than the image."""
        return bool(self.files or self.packages)


class FileEntry(Part):
    """One file, link or folder. Just one of `from`, `content`, `link` and `folder` says what it is."""

    path: fields.FilePath = Field(description="where it is in the image, an absolute path")
    source: fields.Inside | None = Field(
        default=None, alias="from", description="a file of the recipe's folder, or one that `build` makes"
    )
    content: str | None = Field(default=None, description="the text of the file")
    link: fields.Target | None = Field(default=None, description="where a symbolic link points")
    folder: Literal[True] | None = Field(default=None, description="true for an empty folder")
    mode: fields.Mode | None = Field(
        default=None, description="permissions, as '0644'; 0755 for folders and what can be run, else 0644"
    )
    owner: fields.Owner = Field(default="0:0", description="UID:GID in numbers")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.source, self.content, self.link, self.folder)) != 1:
            raise ValueError(f"{self.path} needs just one of 'from', 'content', 'link' and 'folder'")
        if self.link is not None and self.mode is not None:
            raise ValueError(f"{self.path} is a link, which has no 'mode'")
        return self


def _possible_together(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Each path once, and nothing below what is no folder."""
    seen: dict[PurePosixPath, bool] = {}
    for entry in sorted(files, key=lambda entry: PurePosixPath(entry.path)):
        path = PurePosixPath(entry.path)
        if path in seen:
            raise ValueError(f"{path} is there twice")
        if above := [parent for parent in path.parents if seen.get(parent) is False]:
            raise ValueError(f"{path} cannot be below {above[0]}, which is no folder")
        seen[path] = bool(entry.folder)
    return files


Files = Annotated[tuple[FileEntry, ...], AfterValidator(_possible_together)]


class Repository(Part):
    """A further archive of packages, as in deb822 sources (sources.list(5)), with a keyring of its own."""

    uri: fields.ArchiveAddress = Field(description="the archive's address, http:// or https://")
    suites: Annotated[tuple[fields.Suite, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        description="suites to take packages from"
    )
    components: Annotated[tuple[fields.Component, ...], *fields.Distinct, *fields.NotEmpty] = Field(
        default=("main",), description="parts of the archive that packages may come from"
    )
    keyring: fields.Inside = Field(description="the file in the recipe's folder that its signatures are checked with")
    priority: fields.Priority | None = Field(
        default=None, description="apt's priority of all its packages (apt_preferences(5)); 500 where none is said"
    )


class Pin(Part):
    """What apt prefers, as one entry of apt_preferences(5)."""

    packages: Annotated[tuple[fields.PinnedPackage, ...], *fields.NotEmpty] = Field(
        description="names of packages, or patterns such as linux-*"
    )
    pin: fields.PinRule = Field(description="`version 1.2*`, `release n=trixie-backports` or `origin HOST`")
    priority: fields.Priority = Field(description="apt's priority; above 1000 also downgrades, below 0 forbids")


class Group(Part):
    """A group that the image has besides those of its packages."""

    name: fields.UserName = Field(description="the group's name")
    gid: fields.Id = Field(description="its number")


class User(Part):
    """A user that the image has besides those of its packages; locked: nobody can log in with a password."""

    name: fields.UserName = Field(description="the user's name")
    uid: fields.Id = Field(description="its number")
    group: fields.UserName | None = Field(
        default=None, description="its own group; one of the same name and number is made where none is said"
    )
    groups: Annotated[tuple[fields.UserName, ...], *fields.Distinct] = Field(
        default=(), description="further groups it belongs to"
    )
    home: fields.FolderPath = Field(default="/nonexistent", description="its home folder, which is made if need be")
    shell: fields.FilePath = Field(default="/usr/sbin/nologin", description="its shell")


class PathRules(Part):
    """Files that are left out of the image, and of packages that are installed in it later."""

    exclude: tuple[fields.PathGlob, ...] = Field(default=(), description="patterns of paths, as dpkg's path-exclude")
    include: tuple[fields.PathGlob, ...] = Field(
        default=(), description="patterns of what stays all the same, as dpkg's path-include"
    )
