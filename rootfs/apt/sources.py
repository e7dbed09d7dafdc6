"""Debian archives: which suites a recipe means, where they are, and which keys they are signed with.

No archive's address stands here. mmdebstrap knows the distributions' own (and asks debootstrap's scripts and
distro-info); a site may name mirrors, keyrings and archives of snapshots instead.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rootfs.apt import credentials
from rootfs.apt.errors import unknown_suite
from rootfs.apt.transfer import Transfers
from rootfs.errors import InputError, MachineError
from rootfs.process.run import run
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.errors import FormatNewer

KEYRINGS = Path("/usr/share/keyrings")
SUITES = Path("/usr/share/distro-info")
# What knows the distributions' own addresses; another file there has another time of change.
KNOW_SOURCES = (Path("/usr/bin/mmdebstrap"), Path("/usr/share/debootstrap/scripts"), SUITES)
SHOW_SOURCES = 'cat "$1/etc/apt/sources.list"'
# mmdebstrap prints what it would use and does nothing else; this mode needs no rights and no foreign programs.
ASK_SOURCES = (
    *("mmdebstrap", "--mode=chrootless", "--variant=custom", "--skip=update", "--format=null"),
    f"--setup-hook={SHOW_SOURCES} >&2",
)


@dataclass(frozen=True)
class Site:
    """What a site says of archives: `mirrors` maps the start of an archive's address to the mirror to fetch from
    instead, `keyrings` a distribution's name (`debian`, `ubuntu`) to the file its signatures are checked with,
    `snapshots` an archive's address to that of its snapshots; `auth` is a file of names and passwords for archives."""

    mirrors: Mapping[str, str] = field(default_factory=dict)
    keyrings: Mapping[str, Path] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    auth: Path | None = None

    def transfers(self) -> Transfers:
        """How files are fetched here, with the credentials that are in force now. Raises InputError."""
        return Transfers(credentials.load_credentials(self.auth))

    def mirror(self, address: str) -> str:
        """Where to fetch what is at this address; the longest start that matches decides."""
        for start in sorted(self.mirrors, key=len, reverse=True):
            if address.startswith(start.rstrip("/")):
                return self.mirrors[start].rstrip("/") + address[len(start.rstrip("/")) :]
        return address

    def snapshot(self, address: str, moment: str) -> str:
        """Where an archive is as it was at a moment (`20261101T000000Z`). Raises InputError."""
        for archive, snapshots in self.snapshots.items():
            if archive.rstrip("/") == address:
                return f"{snapshots.rstrip('/')}/{moment}"
        raise InputError(
            f"the recipe names a snapshot, but no setting says where snapshots of {address} are",
            hint="Name it under [snapshots] in baseforge.toml: archive address = address of its snapshots.",
        )

    def keyring(self, distribution: str) -> Path:
        """The file a distribution's signatures are checked with. Raises MachineError."""
        path = self.keyrings.get(distribution, KEYRINGS / f"{distribution}-archive-keyring.gpg")
        if not path.is_file():
            raise MachineError(
                f"there is no keyring for {distribution} at {path}",
                hint="Install its package (`./baseforge setup` does), or name another keyring under [keyrings].",
            )
        return path


@dataclass(frozen=True)
class Source:
    """One suite of one archive: its own address, and the mirror and keyring we use for it.

    `snapshot` is the address of the moment that is meant, empty for the newest: such a state is old by nature, so
    neither its age nor its expiry says anything. `priority` is what apt gives all its packages.
    """

    address: str
    mirror: str
    suite: str
    components: tuple[str, ...]
    keyring: Path
    snapshot: str = ""
    priority: int | None = None

    @property
    def folder(self) -> str:
        """Where the suite's indexes are fetched from."""
        return f"{self.mirror}/dists/{self.suite}"

    @property
    def public(self) -> str:
        """Its line in the image's `/etc/apt/sources.list`, the same wherever it was fetched from."""
        return f"deb {self.address} {self.suite} {' '.join(self.components)}"

    @property
    def line(self) -> str:
        """Its line for the engine that fetches it."""
        return f"deb [signed-by={self.keyring}] {self.mirror} {self.suite} {' '.join(self.components)}"


@functools.cache
def known_suites(distribution: str) -> tuple[str, ...]:
    """The code names of a distribution's suites (`debian` or `ubuntu`), from distro-info-data."""
    table = SUITES / f"{distribution}.csv"
    if not table.is_file():
        return ()
    with table.open(newline="") as lines:
        return tuple(row["series"] for row in csv.DictReader(lines))


def distribution_of(suite: str) -> str:
    """The distribution that has this suite. Raises InputError with the nearest name."""
    for distribution in ("debian", "ubuntu"):
        if suite in known_suites(distribution):
            return distribution
    raise unknown_suite(suite, known_suites("debian") + known_suites("ubuntu"))


def suite_sources(
    suite: str,
    pockets: tuple[str, ...],
    components: tuple[str, ...],
    architecture: str,
    site: Site,
    memo: Path | None = None,
) -> tuple[Source, ...]:
    """The suite and those of its pockets (`updates`, `security`) that its distribution has.

    `memo` is a folder that keeps the addresses for as long as what knows them does not change. Raises InputError,
    MachineError.
    """
    keyring = site.keyring(distribution_of(suite))
    wanted = {suite, *(f"{suite}-{pocket}" for pocket in pockets)}
    return tuple(
        Source(address, site.mirror(address), name, components, keyring)
        for address, name in _default_sources(suite, architecture, memo)
        if name in wanted
    )


def _default_sources(suite: str, architecture: str, memo: Path | None) -> tuple[tuple[str, str], ...]:
    if memo is None:
        return _asked_sources(suite, architecture)
    said_by = [[str(path), path.stat().st_mtime_ns] for path in KNOW_SOURCES if path.exists()]
    file = memo / f"{suite}-{architecture}-{canonical_digest(said_by)[7:23]}.json"
    try:
        said = document_format.parse(file.read_bytes(), "what is known of archives", file)["sources"]
        return tuple((str(address), str(name)) for address, name in said)
    except (FileNotFoundError, FormatNewer, ValueError, TypeError, KeyError):
        found = _asked_sources(suite, architecture)
        atomic_file.write_file(file, document_format.dump({"sources": found}))
        return found


@functools.cache
def _asked_sources(suite: str, architecture: str) -> tuple[tuple[str, str], ...]:
    printed = run([*ASK_SOURCES, f"--architectures={architecture}", suite, "/dev/null"]).stderr
    lines = re.findall(r"^deb (?:\[[^]]*\] )?(\S+) (\S+) ", printed, re.MULTILINE)
    return tuple((address.rstrip("/"), name) for address, name in lines)
