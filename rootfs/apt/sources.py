"""The sources of a recipe's packages: suites, their addresses, mirrors and keyrings.

This file contains no address. mmdebstrap knows those of the distributions (it asks debootstrap's scripts and
distro-info), and ended_suites.csv those of suites without support. A site's settings can name mirrors, keyrings and
archives of snapshots.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rootfs.apt import credentials
from rootfs.apt.errors import unknown_suite
from rootfs.apt.transfer import Transfers
from rootfs.errors import InputError, MachineError
from rootfs.network.addresses import canonical_address, path_below, without_userinfo
from rootfs.network.authorities import Authorities
from rootfs.process.run import run
from rootfs.recipe.base import pocket_suites
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.errors import FormatNewer

KEYRINGS = Path("/usr/share/keyrings")
ENDED_SUITES = Path(__file__).with_name("ended_suites.csv")
DISTRO_INFO = Path("/usr/share/distro-info")
# The files that decide the distributions' addresses: the cache of addresses depends on their modification times.
ADDRESS_FILES = (Path("/usr/bin/mmdebstrap"), Path("/usr/share/debootstrap/scripts"), DISTRO_INFO)
SHOW_SOURCES = 'cat "$1/etc/apt/sources.list"'
# mmdebstrap prints the sources that it would use and does nothing else. This mode needs no privileges.
ASK_SOURCES = (
    *("mmdebstrap", "--mode=chrootless", "--variant=custom", "--skip=update", "--format=null"),
    f"--setup-hook={SHOW_SOURCES} >&2",
)


@dataclass(frozen=True)
class Site:
    """A site's settings for archives.

    `mirrors` maps an archive's address, or one above it, to a mirror, `keyrings` a distribution (`debian`, `ubuntu`)
    to the keyring for its signatures, and `snapshots` an archive's address to that of its snapshots. `auth` is a file
    of credentials for archives, `authorities` those that https archives are checked with.
    """

    mirrors: Mapping[str, str] = field(default_factory=dict)
    keyrings: Mapping[str, Path] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    auth: Path | None = None
    authorities: Authorities = field(default_factory=Authorities)

    def transfers(self) -> Transfers:
        """Settings of transfers with the current credentials. Raises InputError."""
        return Transfers(credentials.load_credentials(self.auth), self.authorities)

    def mirror(self, address: str) -> str:
        """The mirror of an address. Of the settings for it or for an address above it, the nearest decides."""
        found = {start: rest for start in self.mirrors if (rest := path_below(address, start)) is not None}
        if not found:
            return address
        nearest = min(found, key=lambda start: len(found[start]))
        return self.mirrors[nearest].rstrip("/") + found[nearest]

    def snapshot(self, address: str, moment: str) -> str:
        """The address of an archive's snapshot at a time (`20261101T000000Z`). Raises InputError."""
        for archive, snapshots in self.snapshots.items():
            if canonical_address(archive) == canonical_address(address):
                return f"{snapshots.rstrip('/')}/{moment}"
        raise InputError(
            f"the recipe names a snapshot, but no setting says where snapshots of {address} are",
            hint="Name it under [snapshots] in baseforge.toml: archive address = address of its snapshots.",
        )

    def keyring(self, distribution: str) -> Path:
        """The keyring for a distribution's signatures. Raises MachineError."""
        path = self.keyrings.get(distribution, KEYRINGS / f"{distribution}-archive-keyring.gpg")
        if not path.is_file():
            raise MachineError(
                f"there is no keyring for {distribution} at {path}",
                hint="Install its package (`./baseforge setup` does), or name another keyring under [keyrings].",
            )
        return path


@dataclass(frozen=True)
class Source:
    """One suite of one archive: the archive's own address, and its mirror and keyring.

    A suite that ends in a slash is a path below the archive's address and has no components (sources.list(5)).
    `snapshot` is the address of a snapshot, empty for the newest state; the age and expiry of a snapshot are not
    checked. `priority` is the pin priority of all packages of the suite. `further`: the recipe names it under
    `repositories`; `release` is then the name in its Release file where it is not the suite's. `ended` is the address
    that a suite moves to when its support has ended; there its expiry is not checked. `architectures` limits those that
    it is used for, empty for all of the image.
    """

    address: str
    mirror: str
    suite: str
    components: tuple[str, ...]
    keyring: Path
    snapshot: str = ""
    priority: int | None = None
    further: bool = False
    release: str = ""
    ended: str = ""
    architectures: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether the suite is a path."""
        return self.suite.endswith("/")

    @property
    def folder(self) -> str:
        """The address of the suite's Release file and indexes, as apt composes it."""
        return f"{self.mirror}/{self.suite}".rstrip("/") if self.flat else f"{self.mirror}/dists/{self.suite}"

    def index_paths(self, architectures: Sequence[str]) -> tuple[str, ...]:
        """The paths of its package indexes below `folder`: those for the architectures, and for all architectures."""
        if self.flat:
            return ("Packages",)
        names = (*self.used_for(architectures), "all")
        return tuple(f"{component}/binary-{each}/Packages" for component in self.components for each in names)

    def used_for(self, architectures: Sequence[str]) -> tuple[str, ...]:
        """Those of an image's architectures that it is used for."""
        return tuple(each for each in architectures if each in (self.architectures or architectures))

    @property
    def locations(self) -> frozenset[tuple[str, str]]:
        """Archive and suite as apt-cache(8) shows them, with each component; without user name and password."""
        mirror = without_userinfo(self.mirror)
        if self.flat:
            return frozenset({(mirror, self.suite if self.suite != "/" else "")})
        return frozenset((mirror, f"{self.suite}/{component}") for component in self.components)

    @property
    def line(self) -> str:
        """Its line for a bootstrapper, with the mirror and the keyring."""
        return f"deb [signed-by={self.keyring}] {' '.join((self.mirror, self.suite, *self.components))}"


@functools.cache
def _suite_table(distribution: str) -> tuple[Mapping[str, str], ...]:
    """What distro-info-data has of a distribution's suites, the oldest first: series, version, and dates."""
    table = DISTRO_INFO / f"{distribution}.csv"
    if not table.is_file():
        return ()
    with table.open(newline="") as lines:
        return tuple(csv.DictReader(lines))


def known_suites(distribution: str) -> tuple[str, ...]:
    """The code names of a distribution's suites (`debian` or `ubuntu`), from distro-info-data."""
    return tuple(row["series"] for row in _suite_table(distribution))


# The first suites whose legacy names of time zones are in a package of their own.
LEGACY_ZONES_APART = ("trixie", "mantic")


def has_legacy_zones_apart(suite: str) -> bool:
    """Whether a suite has the package tzdata-legacy; not so for an unknown suite."""
    for suites in map(known_suites, ("debian", "ubuntu")):
        if suite in suites:
            return any(first in suites[: suites.index(suite) + 1] for first in LEGACY_ZONES_APART)
    return False


def distribution_of(suite: str) -> str:
    """The distribution that has this suite. Raises InputError with the suite that an alias means, or the nearest."""
    for distribution in ("debian", "ubuntu"):
        if suite in known_suites(distribution):
            return distribution
    raise unknown_suite(suite, known_suites("debian") + known_suites("ubuntu"), _meaning(suite))


def _meaning(alias: str) -> str:
    """The code name that an alias or a version number means today; empty where it is neither."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    debian = [row for row in _suite_table("debian") if row.get("version")]
    released = [row["series"] for row in debian if "" < (row.get("release") or "") <= today]
    coming = [row["series"] for row in debian if row["series"] not in released]
    long_term = [row for row in _suite_table("ubuntu") if "LTS" in (row.get("version") or "")]
    aliases = {
        **dict(zip(("stable", "oldstable", "oldoldstable"), reversed(released), strict=False)),
        **dict(zip(("testing",), coming, strict=False)),
        "unstable": "sid",
        **{
            word: row["series"]
            for row in long_term
            if (row.get("release") or "") <= today
            for word in ("lts", "latest")
        },
    }
    versions = {
        row["version"].split()[0]: row["series"] for row in (*debian, *_suite_table("ubuntu")) if row["version"]
    }
    return aliases.get(alias) or versions.get(alias, "")


def suite_sources(
    suite: str,
    pockets: tuple[str, ...],
    components: tuple[str, ...],
    architecture: str,
    site: Site,
    cache: Path | None = None,
) -> tuple[Source, ...]:
    """The sources of a suite and of those of its pockets (`updates`, `security`) that its distribution has.

    `cache` is a folder that keeps the addresses until the files that decide them change. Raises InputError,
    MachineError.
    """
    distribution = distribution_of(suite)
    keyring, names = site.keyring(distribution), {suite, *pocket_suites(suite, pockets)}
    found = []
    for address, name in _default_sources(suite, architecture, cache):
        if name in names:
            security = name in pocket_suites(suite, ("security",))
            regular, ended = _addresses(address, suite, architecture, security=security)
            if ended and site.mirror(regular) == regular and site.mirror(ended) != ended:
                regular = ended  # a site that has a mirror of this one only
            found.append(Source(regular, site.mirror(regular), name, components, keyring, ended=ended))
    return tuple(found)


def suite_sources_for(
    suite: str,
    pockets: tuple[str, ...],
    components: tuple[str, ...],
    architectures: tuple[str, ...],
    site: Site,
    cache: Path | None = None,
) -> tuple[Source, ...]:
    """The sources for several architectures, which may have archives of their own. Raises as `suite_sources` does."""
    used: dict[Source, tuple[str, ...]] = {}
    for architecture in architectures:
        for source in suite_sources(suite, pockets, components, architecture, site, cache):
            used[source] = (*used.get(source, ()), architecture)
    return tuple(
        source if names == architectures else replace(source, architectures=names) for source, names in used.items()
    )


def _addresses(address: str, suite: str, architecture: str, *, security: bool) -> tuple[str, str]:
    """The address of a suite and, where its support has ended, the one that it moves to; else the latter is empty."""
    today, distribution = f"{datetime.now(UTC):%Y-%m-%d}", distribution_of(suite)
    [about] = [row for row in _suite_table(distribution) if row["series"] == suite]
    if not "" < (about.get("eol") or "") < today:
        return address, ""
    row = next(
        row
        for row in _ended_suites()
        if row["distribution"] == distribution
        and architecture in (row["architectures"].split() or [architecture])
        and bool(row["pocket"]) == security
    )
    return row["regular"] or address, row["ended"]


@functools.cache
def _ended_suites() -> tuple[Mapping[str, str], ...]:
    with ENDED_SUITES.open(newline="") as lines:
        return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))


def has_ended(address: str) -> bool:
    """Whether an archive has only suites without support."""
    return any(row["ended"] == address for row in _ended_suites())


def pocket_suite(suite: str, pocket: str) -> str:
    """The suite that a pocket is: security fixes of Debian 10 and older are in SUITE/updates."""
    version = next((row["version"] for row in _suite_table("debian") if row["series"] == suite), "")
    old = version and float(version) < 11
    return f"{suite}/updates" if old and pocket == "security" else f"{suite}-{pocket}"


def _default_sources(suite: str, architecture: str, cache: Path | None) -> tuple[tuple[str, str], ...]:
    if cache is None:
        return _ask_mmdebstrap(suite, architecture)
    versions = [[str(path), path.stat().st_mtime_ns] for path in ADDRESS_FILES if path.exists()]
    file = cache / f"{suite}-{architecture}-{canonical_digest(versions)[7:23]}.json"
    try:
        pairs = document_format.parse(file.read_bytes(), "what is known of archives", file)["sources"]
        return tuple((str(address), str(name)) for address, name in pairs)
    except (FileNotFoundError, FormatNewer, ValueError, TypeError, KeyError):
        found = _ask_mmdebstrap(suite, architecture)
        atomic_file.write_file(file, document_format.dump({"sources": found}))
        return found


@functools.cache
def _ask_mmdebstrap(suite: str, architecture: str) -> tuple[tuple[str, str], ...]:
    printed = run([*ASK_SOURCES, f"--architectures={architecture}", suite, "/dev/null"]).stderr
    lines = re.findall(r"^deb (?:\[[^]]*\] )?(\S+) (\S+) ", printed, re.MULTILINE)
    return tuple((address.rstrip("/"), name) for address, name in lines)
