"""The plan of a tree for the installer: plain values, passed into the namespaces as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Deb:
    """A package of the tree. `essential`: the bootstrapper installs it; `base`: it is part of the variant and installed
    first; `auto`: it is only a dependency."""

    name: str
    version: str
    architecture: str
    file: str
    essential: bool
    base: bool
    auto: bool


@dataclass(frozen=True)
class NewGroup:
    """A group to add."""

    name: str
    gid: int


@dataclass(frozen=True)
class NewUser:
    """A user to add; without `group`, a group of the same name and number is added too."""

    name: str
    uid: int
    group: str | None
    groups: tuple[str, ...]
    home: str
    shell: str


@dataclass(frozen=True)
class NewEntry:
    """A file (`source` in the recipe's folder, or `content`), a link or a folder of the recipe.

    `owner` is USER:GROUP, each a number or a name of the tree.
    """

    path: str
    owner: str = "0:0"
    source: str | None = None
    content: str | None = None
    link: str | None = None
    folder: bool = False
    mode: int | None = None


@dataclass(frozen=True)
class Plan:
    """One tree to make. Paths are this machine's, except in `entries`, `users` and `settings`, which are the tree's.

    It starts from the tar `start` or, without one, from the essential packages that a bootstrapper has installed. With
    `has_base` the base packages are installed already. `layered`: the start is the tree of a base image; its packages
    are in `present` (name, version, architecture), not in `packages`. `save_to` names the tars to save the trees of
    `essential` and `base` packages to. `epoch` is the lock's, `start_epoch` and `base_epoch` those of the packages, in
    seconds since 1970. `settings` are files of apt and dpkg, by path; `include` are the packages that the recipe
    names. `generate_locale`: the C library does not have the locale itself. dpkg and apt in it know the `foreign`
    architectures.
    """

    tree: Path
    work: Path
    start: Path | None
    has_base: bool
    save_to: dict[str, Path]
    debs: Path
    files: Path
    architecture: str
    epoch: int
    start_epoch: int
    base_epoch: int
    packages: tuple[Deb, ...]
    settings: dict[str, str] = field(default_factory=dict)
    entries: tuple[NewEntry, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    users: tuple[NewUser, ...] = ()
    scripts: tuple[str, ...] = ()
    locale: str | None = None
    generate_locale: bool = False
    timezone: str | None = None
    remove_package_manager: bool = False
    layered: bool = False
    foreign: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    present: tuple[tuple[str, str, str], ...] = ()

    def has(self, name: str) -> bool:
        """Whether a package of this name is in the tree in the end."""
        return any(deb.name == name for deb in self.packages) or any(there == name for there, *_ in self.present)

    @property
    def base_packages(self) -> list[Deb]:
        """Packages of the variant, which are installed first."""
        return [] if self.has_base else [deb for deb in self.packages if deb.base and not deb.essential]

    @property
    def other_packages(self) -> list[Deb]:
        """Packages that are installed after those of the variant."""
        return [deb for deb in self.packages if not deb.base and not deb.essential]

    def to_json(self) -> bytes:
        """The plan as JSON."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Plan:
        """Read a plan from its JSON."""
        raw: dict[str, Any] = json.loads(text)
        for name in ("tree", "work", "start", "debs", "files"):
            raw[name] = Path(raw[name]) if raw[name] else None
        raw["save_to"] = {kind: Path(tar) for kind, tar in raw["save_to"].items()}
        for name, kind in (("packages", Deb), ("groups", NewGroup), ("users", NewUser), ("entries", NewEntry)):
            raw[name] = tuple(kind(**each) for each in raw[name])
        return cls(**raw)
