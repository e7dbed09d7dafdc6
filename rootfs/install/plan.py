"""What stage two is told: plain values, which cross into the namespaces as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Deb:
    """A package that the tree has in the end; `essential` if stage one brings it, `base` if it is installed before the
    others, `auto` if it is there only as a dependency."""

    name: str
    version: str
    architecture: str
    file: str
    essential: bool
    base: bool
    auto: bool


@dataclass(frozen=True)
class NewGroup:
    """A group that the tree gets."""

    name: str
    gid: int


@dataclass(frozen=True)
class NewUser:
    """A user that the tree gets; without `group` one of its own name and number."""

    name: str
    uid: int
    group: str | None
    groups: tuple[str, ...]
    home: str
    shell: str


@dataclass(frozen=True)
class Entry:
    """A file (`source` in the recipe's folder, or `content`), a link or a folder that is laid over the tree."""

    path: str
    owner: tuple[int, int] = (0, 0)
    source: str | None = None
    content: str | None = None
    link: str | None = None
    folder: bool = False
    mode: int | None = None


@dataclass(frozen=True)
class Plan:
    """One tree: all paths are this machine's, but those of entries, users and `texts`, which are the tree's.

    It begins with the tar `start` or, without one, with what is there: the essential packages and, where it `has_base`,
    the base ones; else these come first. The trees of `essential` and `base` packages are written to the tars that
    `keep` names, if it does. Where it is `whole` it is an image's, with packages that are not in `packages`. `epoch` is
    the lock's, `start_epoch` and `base_epoch` are those packages', in seconds since 1970. `texts` are the settings of
    apt and dpkg, by path; `asked` are names that the recipe includes, and `present` is what a whole image is found to
    have: name, version, architecture.
    """

    tree: Path
    scratch: Path
    start: Path | None
    has_base: bool
    keep: dict[str, Path]
    debs: Path
    files: Path
    architecture: str
    epoch: int
    start_epoch: int
    base_epoch: int
    packages: tuple[Deb, ...]
    texts: dict[str, str] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    users: tuple[NewUser, ...] = ()
    scripts: tuple[str, ...] = ()
    locale: str | None = None
    timezone: str | None = None
    remove: bool = False
    whole: bool = False
    asked: tuple[str, ...] = ()
    present: tuple[tuple[str, str, str], ...] = ()

    def has(self, name: str) -> bool:
        """Whether the tree gets a package of this name, or has it."""
        return any(deb.name == name for deb in self.packages) or any(there == name for there, *_ in self.present)

    @property
    def base(self) -> list[Deb]:
        """What is installed before the others."""
        return [] if self.has_base else [deb for deb in self.packages if deb.base and not deb.essential]

    @property
    def rest(self) -> list[Deb]:
        """What is installed after the base."""
        return [deb for deb in self.packages if not deb.base and not deb.essential]

    def dumped(self) -> bytes:
        """The plan as JSON."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def loaded(cls, text: bytes) -> Plan:
        """The plan that `dumped` wrote."""
        raw: dict[str, Any] = json.loads(text)
        for name in ("tree", "scratch", "start", "debs", "files"):
            raw[name] = Path(raw[name]) if raw[name] else None
        raw["keep"] = {kind: Path(tar) for kind, tar in raw["keep"].items()}
        for name, kind in (("packages", Deb), ("groups", NewGroup), ("users", NewUser), ("entries", Entry)):
            raw[name] = tuple(kind(**each) for each in raw[name])
        return cls(**raw)
