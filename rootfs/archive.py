"""Debian archives: which suites a recipe means, where they are, and whether what they say is signed.

No archive's address stands here. mmdebstrap knows the distributions' own (and asks debootstrap's scripts and
distro-info); a site may name mirrors and keyrings instead.
"""

from __future__ import annotations

import asyncio
import csv
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from debian_inspector.debcon import Debian822
from pydantic import BaseModel, ConfigDict

from rootfs.errors import (
    ArchiveUnreachable,
    InvalidRelease,
    KeyringMissing,
    SuiteMissing,
    UnknownSuite,
    UnsignedRelease,
)
from rootfs.run import run

KEYRINGS = Path("/usr/share/keyrings")
SUITES = Path("/usr/share/distro-info")
TIMEOUT = httpx.Timeout(30, connect=10)  # seconds
SHOW_SOURCES = 'cat "$1/etc/apt/sources.list"'
# mmdebstrap prints what it would use and does nothing else.
ASK_SOURCES = ("mmdebstrap", "--variant=custom", "--skip=update", "--format=null", f"--setup-hook={SHOW_SOURCES} >&2")


@dataclass(frozen=True)
class Site:
    """What a site says of archives: `mirrors` maps the start of an archive's address to the mirror to fetch from
    instead, `keyrings` a distribution's name (`debian`, `ubuntu`) to the file its signatures are checked with."""

    mirrors: Mapping[str, str] = field(default_factory=dict)
    keyrings: Mapping[str, Path] = field(default_factory=dict)

    def mirror(self, address: str) -> str:
        """Where to fetch what is at this address; the longest start that matches decides."""
        for start in sorted(self.mirrors, key=len, reverse=True):
            if address.startswith(start.rstrip("/")):
                return self.mirrors[start].rstrip("/") + address[len(start.rstrip("/")) :]
        return address

    def keyring(self, distribution: str) -> Path:
        """The file a distribution's signatures are checked with. Raises KeyringMissing."""
        path = self.keyrings.get(distribution, KEYRINGS / f"{distribution}-archive-keyring.gpg")
        if not path.is_file():
            raise KeyringMissing(distribution, path)
        return path


@dataclass(frozen=True)
class Source:
    """One suite of one archive: its own address, and the mirror and keyring we use for it."""

    address: str
    mirror: str
    suite: str
    components: tuple[str, ...]
    keyring: Path

    @property
    def public(self) -> str:
        """Its line in the image's `/etc/apt/sources.list`, the same wherever it was fetched from."""
        return f"deb {self.address} {self.suite} {' '.join(self.components)}"

    @property
    def line(self) -> str:
        """Its line for the engine that fetches it."""
        return f"deb [signed-by={self.keyring}] {self.mirror} {self.suite} {' '.join(self.components)}"


class Release(BaseModel):
    """A signed Release file: which state of a suite is meant. `date` is its `Date:` in seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    address: str
    suite: str
    sha256: str
    date: int
    signer: str


@functools.cache
def suites(distribution: str) -> tuple[str, ...]:
    """The code names of a distribution's suites (`debian` or `ubuntu`), from distro-info-data."""
    table = SUITES / f"{distribution}.csv"
    if not table.is_file():
        return ()
    with table.open(newline="") as lines:
        return tuple(row["series"] for row in csv.DictReader(lines))


def distribution_of(suite: str) -> str:
    """The distribution that has this suite. Raises UnknownSuite with the nearest name."""
    for distribution in ("debian", "ubuntu"):
        if suite in suites(distribution):
            return distribution
    raise UnknownSuite(suite, suites("debian") + suites("ubuntu"))


def sources(
    suite: str, pockets: tuple[str, ...], components: tuple[str, ...], architecture: str, site: Site
) -> tuple[Source, ...]:
    """The suite and those of its pockets (`updates`, `security`) that its distribution has.

    Raises UnknownSuite, KeyringMissing.
    """
    keyring = site.keyring(distribution_of(suite))
    wanted = {suite, *(f"{suite}-{pocket}" for pocket in pockets)}
    return tuple(
        Source(address, site.mirror(address), name, components, keyring)
        for address, name in _default_sources(suite, architecture)
        if name in wanted
    )


@functools.cache
def _default_sources(suite: str, architecture: str) -> tuple[tuple[str, str], ...]:
    printed = run([*ASK_SOURCES, f"--architectures={architecture}", suite, "/dev/null"]).stderr
    lines = re.findall(r"^deb (?:\[[^]]*\] )?(\S+) (\S+) ", printed, re.MULTILINE)
    return tuple((address.rstrip("/"), name) for address, name in lines)


def read_releases(wanted: tuple[Source, ...]) -> tuple[Release, ...]:
    """Fetch each suite's InRelease, at once, and check its signature and its dates.

    Raises ArchiveUnreachable (try again), SuiteMissing, UnsignedRelease, InvalidRelease.
    """
    addresses = [f"{source.mirror}/dists/{source.suite}/InRelease" for source in wanted]
    signed = asyncio.run(_fetch_all(wanted, addresses))
    return tuple(map(check_release, signed, wanted, addresses))


async def _fetch_all(wanted: Iterable[Source], addresses: Iterable[str]) -> list[bytes]:
    """All at once, and not in threads: an interrupt would have to wait for those."""
    async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=True) as client:
        return await asyncio.gather(*(_fetch(client, *pair) for pair in zip(wanted, addresses, strict=True)))


async def _fetch(client: httpx.AsyncClient, source: Source, address: str) -> bytes:
    try:
        answer = await client.get(address)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise SuiteMissing(source.suite, address)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ArchiveUnreachable(address, str(error) or type(error).__name__) from error
    except httpx.InvalidURL as error:
        raise ArchiveUnreachable(address, str(error)) from error
    return answer.content


def check_release(signed: bytes, source: Source, address: str) -> Release:
    """What a signed Release file says, after its signature, suite and dates have been checked.

    Only the text inside the signature is read (gpgv's own output), never the file around it.
    """
    result = run(["gpgv", "--status-fd=2", f"--keyring={source.keyring}", "--output=-", "-"], stdin=signed, check=False)
    signers = re.findall(r"^\[GNUPG:\] VALIDSIG (\S+)", result.stderr, re.MULTILINE)
    if not signers or "[GNUPG:] BADSIG" in result.stderr:
        raise UnsignedRelease(address, source.keyring, re.findall(r"NO_PUBKEY (\S+)", result.stderr))
    fields = Debian822.from_string(result.stdout)
    if source.suite not in (fields.get("codename"), fields.get("suite")):
        raise InvalidRelease(address, f"it is the Release file of {fields.get('codename')}, not of {source.suite}")
    until = _time(fields["valid-until"], address) if "valid-until" in fields else None
    if until is not None and until < datetime.now(UTC).timestamp():
        raise InvalidRelease(address, f"it expired on {fields['valid-until']}")
    return Release(
        address=source.address,
        suite=source.suite,
        sha256=hashlib.sha256(signed).hexdigest(),
        date=_time(fields.get("date", ""), address),
        signer=signers[0],
    )


def _time(text: str, address: str) -> int:
    """A date of a Release file (RFC 5322, in UTC) in seconds since 1970."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError as error:
        raise InvalidRelease(address, f"it has no readable date ({text!r})") from error
