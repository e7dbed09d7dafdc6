"""Fetch Release files, and check their signature, suite and dates before anything in them is used."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from debian_inspector.debcon import Debian822

from rootfs.apt.errors import ArchiveUnreachable, InvalidRelease, unsigned_release
from rootfs.apt.keyring import gpgv_keyring
from rootfs.apt.sources import Source
from rootfs.apt.transfer import Transfers, check_access, failure_reason, proxy_denial
from rootfs.errors import InputError
from rootfs.lock.lock import Release
from rootfs.process.run import run
from rootfs.system.digests import sha256_of_bytes
from rootfs.system.stop import run_stoppable
from rootfs.system.text import format_time

MAX_CLOCK_SKEW = 600.0  # seconds that an archive's clock may be ahead of ours
UNUSABLE_KEYS = {"NO_PUBKEY": "", "EXPKEYSIG": ", which has expired", "REVKEYSIG": ", which is revoked"}  # gpgv's words
SHA256 = re.compile("[0-9a-f]{64}")
BAD_SIGNATURE = "[GNUPG:] BADSIG"


@dataclass(frozen=True)
class FetchedRelease:
    """An InRelease file as it came from `address`, and the entity tag it came with (RFC 9110), if any."""

    address: str
    tag: str
    content: bytes


def fetch_releases(
    sources: tuple[Source, ...], known: Mapping[Source, FetchedRelease], transfers: Transfers
) -> list[FetchedRelease]:
    """Fetch the InRelease files of suites, in parallel. One that is unchanged since `known` is not sent again.

    Raises ArchiveUnreachable (try again), AccessDenied, InputError.
    """
    return run_stoppable(_fetch_all(sources, known, transfers))


async def _fetch_all(
    sources: tuple[Source, ...], known: Mapping[Source, FetchedRelease], transfers: Transfers
) -> list[FetchedRelease]:
    """Fetch in one thread: an interrupt would have to wait for others."""
    async with transfers.client() as client:
        return await asyncio.gather(*(_fetch(client, source, known.get(source), transfers) for source in sources))


async def _fetch(
    client: httpx.AsyncClient, source: Source, known: FetchedRelease | None, transfers: Transfers
) -> FetchedRelease:
    """Fetch one file. Only the entity tag is compared: a date would hide an archive that went back in time."""
    address = f"{source.folder}/InRelease"
    tag = known.tag if known and known.address == address else ""
    try:
        response, content = await _get(client, address, tag, transfers)
        if known and tag and response.status_code == httpx.codes.NOT_MODIFIED:
            return known
        if response.status_code == httpx.codes.NOT_FOUND:
            raise InputError(
                f"the archive has no suite {source.suite!r}",
                where=address,
                hint="Check `suite` in the recipe; an old release may have moved to another archive ([mirrors]).",
            )
        check_access(response, address)
        response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise proxy_denial(error, address) or ArchiveUnreachable(address, failure_reason(error)) from error
    return FetchedRelease(address, response.headers.get("etag", ""), content)


async def _get(client: httpx.AsyncClient, address: str, tag: str, transfers: Transfers) -> tuple[httpx.Response, bytes]:
    """The answer and its content. Raises TooSlow and other errors of httpx."""
    chunks = []
    headers = {"If-None-Match": tag} if tag else {}
    async with transfers.paced() as arrived, client.stream("GET", address, headers=headers) as response:
        async for data in response.aiter_bytes():
            chunks.append(data)
            arrived(len(data))
    return response, b"".join(chunks)


@dataclass(frozen=True)
class SuiteState:
    """The state of a suite: its Release file, and the fields of the signed text by their names in lower case."""

    source: Source
    release: Release
    fields: Mapping[str, str] = field(compare=False)
    indexes: Mapping[str, tuple[str, int]] = field(compare=False)

    def index(self, path: str) -> tuple[str, int] | None:
        """sha256 in hex and size in bytes of one of the suite's indexes, as the Release file has them."""
        return self.indexes.get(path)

    def field(self, name: str) -> str:
        """A field of one line, or an empty string."""
        return self.fields.get(name.lower(), "")


def check_release(signed: bytes, source: Source, address: str) -> SuiteState:
    """Check the signature, suite and dates of a Release file, and parse it.

    Raises BuildError, InvalidRelease, InputError.
    """
    signer, text = verify_signature(signed, source.keyring, address)
    fields = parse_fields(text)
    if source.suite not in (fields.get("codename"), fields.get("suite")):
        raise InvalidRelease(address, f"it is the Release file of {fields.get('codename')}, not of {source.suite}")
    date = parse_time(fields.get("date", ""), address)
    until = parse_time(fields["valid-until"], address) if "valid-until" in fields else None
    _check_dates(date, None if source.snapshot else until, address)
    return SuiteState(
        source=source,
        release=Release(
            address=source.address,
            suite=source.suite,
            sha256=sha256_of_bytes(signed),
            date=date,
            signer=signer,
            valid_until=until,
        ),
        fields=fields,
        indexes=_indexes(fields.get("sha256", "")),
    )


def parse_fields(text: str) -> Mapping[str, str]:
    """The fields of a Release file by their names in lower case. A signature around them is ignored."""
    fields: dict[str, str] = Debian822.from_string(text).to_dict()
    return fields


def _indexes(listed: str) -> Mapping[str, tuple[str, int]]:
    """sha256 in hex and size in bytes of each index in a Release file's field, by its path."""
    indexes: dict[str, tuple[str, int]] = {}
    for words in map(str.split, listed.splitlines()):
        if len(words) == 3 and SHA256.fullmatch(words[0]) and words[1].isdecimal():
            indexes.setdefault(words[2], (words[0], int(words[1])))
    return indexes


def verify_signature(signed: bytes, keyring: Path, address: str) -> tuple[str, str]:
    """Check a signature. Returns the signer's fingerprint and the signed text, the only part that can be trusted.

    Raises BuildError, InputError.
    """
    with gpgv_keyring(keyring) as ring:
        argv = ["gpgv", "--status-fd=2", f"--keyring={ring}", "--output=-", "-"]
        result = run(argv, stdin=signed, check=False)
    good, others = parse_signers(result.stderr)
    if not good:
        raise unsigned_release(address, keyring, others)
    return good[0], result.stdout


def parse_signers(status: str) -> tuple[list[str], list[str]]:
    """Parse gpgv's status lines: the fingerprints of good signatures, and unknown, expired or revoked keys.

    If one signature is bad, none counts as good.
    """
    good, others, key = [], [], ""
    for word, value in re.findall(r"^\[GNUPG:\] (\w+)(?: (\S+))?", status, re.MULTILINE):
        if word in ("GOODSIG", "NEWSIG"):
            key = value
        elif word == "VALIDSIG" and key:
            good.append(value)
        elif word in UNUSABLE_KEYS:
            others.append(value + UNUSABLE_KEYS[word])
            key = ""
    return [] if BAD_SIGNATURE in status else good, others


def _check_dates(date: int, until: int | None, address: str) -> None:
    now = datetime.now(UTC).timestamp()
    clock = f"this machine's clock says {format_time(now)}"
    if until is not None and until < now:
        raise InvalidRelease(address, f"it expired on {format_time(until)}; {clock}")
    if date > now + MAX_CLOCK_SKEW:
        raise InvalidRelease(address, f"its date, {format_time(date)}, is yet to come; {clock}")


def parse_time(text: str, address: str) -> int:
    """A date of a Release file (RFC 5322, in UTC) in seconds since 1970. Raises InvalidRelease."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError as error:
        raise InvalidRelease(address, f"it has no readable date ({text!r})") from error
