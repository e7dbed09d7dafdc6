"""Fetch Release files, and check their signature, suite and dates before anything in them is used."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from debian_inspector.debcon import Debian822

from rootfs.apt.errors import (
    ArchiveUnreachable,
    InvalidRelease,
    signature_binary,
    signature_missing,
    suite_missing,
    unsigned_release,
)
from rootfs.apt.keyring import gpgv_keyring
from rootfs.apt.sources import Source
from rootfs.apt.transfer import Transfers, check_access, failure_reason, proxy_denial
from rootfs.lock.lock import Release
from rootfs.process.run import run
from rootfs.system.digests import sha256_of_bytes
from rootfs.system.stop import run_stoppable
from rootfs.system.text import format_time

MAX_RELEASE = 16 << 20  # bytes of a Release file or its signature; Debian's largest are a few hundred KiB
MAX_CLOCK_SKEW = 600.0  # seconds that an archive's clock may be ahead of ours
# Of gpgv (doc/DETAILS of GnuPG): why a signature by a key does not count.
UNUSABLE = {
    "NO_PUBKEY": "",
    "EXPSIG": " in a signature that has expired",
    "EXPKEYSIG": ", which has expired",
    "REVKEYSIG": ", which is revoked",
}
NOT_GOOD = ("NEWSIG", "BADSIG", "ERRSIG", *UNUSABLE)  # the next signature begins, or this one is not good
SHA256 = re.compile("[0-9a-f]{64}")
ARMOR = b"-----BEGIN PGP SIGNATURE-----"
BAD_SIGNATURE = "[GNUPG:] BADSIG"
# The id and, at the end, the fingerprint of a key that gpgv does not have (doc/DETAILS of GnuPG).
ERROR_OF_KEY = re.compile(r"^\[GNUPG:\] ERRSIG ([0-9A-F]{16}) .* ([0-9A-F]{40,64})$", re.MULTILINE)


@dataclass(frozen=True)
class FetchedRelease:
    """A Release file as it came from `address`, and the entity tag it came with (RFC 9110), if any.

    It is an InRelease file, or a Release file with its detached `signature`.
    """

    address: str
    tag: str
    content: bytes
    signature: bytes = b""


def fetch_releases(
    sources: tuple[Source, ...], known: Mapping[Source, FetchedRelease], transfers: Transfers
) -> list[FetchedRelease]:
    """Fetch the Release files of suites, in parallel. One that is unchanged since `known` is not sent again.

    Raises ArchiveUnreachable (try again), AccessDenied, SuiteError, BuildError.
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
    """Fetch InRelease or, where the archive has none, Release and Release.gpg."""
    inline = await _fetch_file(client, f"{source.folder}/InRelease", known, transfers)
    if inline:
        return inline
    release = await _fetch_file(client, f"{source.folder}/Release", None, transfers)
    if release is None:
        raise suite_missing(source.address, source.suite, source.folder, further=source.further)
    signature = await _fetch_file(client, f"{source.folder}/Release.gpg", None, transfers)
    if signature is None:
        raise signature_missing(release.address)
    if not signature.content.lstrip().startswith(ARMOR):
        raise signature_binary(signature.address)
    return FetchedRelease(release.address, "", release.content, signature.content)


async def _fetch_file(
    client: httpx.AsyncClient, address: str, known: FetchedRelease | None, transfers: Transfers
) -> FetchedRelease | None:
    """Fetch one file; None if it is not there.

    Only the entity tag is compared: a date would hide an archive that went back in time.
    """
    tag = known.tag if known and known.address == address else ""
    try:
        response, content = await _get(client, address, tag, transfers)
        if known and tag and response.status_code == httpx.codes.NOT_MODIFIED:
            return known
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return None
        check_access(response, address)
        response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise proxy_denial(error, address) or ArchiveUnreachable(address, failure_reason(error)) from error
    return FetchedRelease(address, response.headers.get("etag", ""), content)


async def _get(client: httpx.AsyncClient, address: str, tag: str, transfers: Transfers) -> tuple[httpx.Response, bytes]:
    """The answer and its content, as it is sent: nothing is decompressed before its signature is checked.

    Raises TooSlow and other errors of httpx, InvalidRelease.
    """
    content = bytearray()
    headers = {"Accept-Encoding": "identity"} | ({"If-None-Match": tag} if tag else {})
    async with transfers.paced() as arrived, client.stream("GET", address, headers=headers) as response:
        async for data in response.aiter_raw():
            content += data
            if len(content) > MAX_RELEASE:
                reason = f"it is larger than {MAX_RELEASE >> 20} MiB"
                raise InvalidRelease(address, reason, "No archive has one of this size: do not trust this server.")
            arrived(len(data))
    return response, bytes(content)


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


def check_release(signed: bytes, source: Source, address: str, signature: bytes = b"") -> SuiteState:
    """Check the signature, suite and dates of a Release file, and parse it. A detached `signature` is not in it.

    Raises BuildError, InvalidRelease, InputError.
    """
    signer, text = verify_signature(signed, signature, source, address)
    fields = parse_fields(text)
    _check_name(fields, source, address)
    date = parse_time(fields.get("date", ""), address)
    until = parse_time(fields["valid-until"], address) if "valid-until" in fields else None
    final = source.snapshot or source.ended == source.address  # nothing newer comes
    _check_dates(date, None if final else until, address)
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


def _check_name(fields: Mapping[str, str], source: Source, address: str) -> None:
    """Check that a Release file is of the suite that it was fetched for, as apt does. One without names is of any.

    A suite with slashes may have the name before the last: stretch/updates is of stretch. Raises InvalidRelease.
    """
    names = [fields[key] for key in ("codename", "suite") if fields.get(key)]
    wanted = [source.release] if source.release else [source.suite, source.suite.rpartition("/")[0]]
    if set(names) & set(wanted) or (not source.release and (source.flat or not names)):
        return
    found = " or ".join(dict.fromkeys(names)) or "no suite that it names"
    reason = f"it is the Release file of {found}, not of {wanted[0]}"
    if not source.further:
        raise InvalidRelease(address, reason)
    hint = "Leave `release` out of this entry of `repositories`."
    if names:
        hint = f"If this is the suite you want, add `release: {names[0]}` to this entry of `repositories`."
    raise InvalidRelease(address, reason, hint)


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


def verify_signature(signed: bytes, signature: bytes, source: Source, address: str) -> tuple[str, str]:
    """Check a signature: the detached one, if there is one, else the one around the text.

    Returns the signer's fingerprint and the signed text, the only part that can be trusted.
    Raises BuildError, InputError.
    """
    with gpgv_keyring(source.keyring) as ring, tempfile.NamedTemporaryFile(prefix="baseforge-") as detached:
        detached.write(signature)
        detached.flush()
        files = [detached.name, "-"] if signature else ["--output=-", "-"]
        result = run(["gpgv", "--status-fd=2", f"--keyring={ring}", *files], stdin=signed, check=False)
    good, others = parse_signers(result.stderr)
    if not good:
        changed = BAD_SIGNATURE in result.stderr
        ended = bool(source.ended)
        raise unsigned_release(address, source.keyring, others, further=source.further, ended=ended, changed=changed)
    return good[0], signed.decode(errors="replace") if signature else result.stdout


def parse_signers(status: str) -> tuple[list[str], list[str]]:
    """Parse gpgv's status lines: the fingerprints of good signatures, and unknown, expired or revoked keys.

    If one signature is bad, none counts as good.
    """
    good, others, is_good = [], [], False
    fingerprints = dict(ERROR_OF_KEY.findall(status))
    for word, value in re.findall(r"^\[GNUPG:\] (\w+)(?: (\S+))?", status, re.MULTILINE):
        if word == "GOODSIG":
            is_good = True
        elif word == "VALIDSIG" and is_good:
            good.append(value)
        elif word in NOT_GOOD:
            is_good = False
        if word in UNUSABLE:
            others.append(fingerprints.get(value, value) + UNUSABLE[word])
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
