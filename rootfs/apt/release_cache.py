"""The current states of suites: fetched once, cached for later runs, and never replaced by an older state."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from rootfs.apt.errors import InvalidRelease, NeverFetched, older_release
from rootfs.apt.release import FetchedRelease, SuiteState, check_release, fetch_releases, parse_fields, parse_time
from rootfs.apt.sources import Site, Source
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.text import format_time


class ReleaseCache:
    """The states of suites. `folder` has the newest Release file of each suite."""

    def __init__(self, folder: Path, site: Site, *, offline: bool) -> None:
        self._folder, self._site, self._offline = folder, site, offline
        self._states: dict[Source, SuiteState] = {}
        self._lock = threading.Lock()

    def states(self, sources: tuple[Source, ...]) -> tuple[SuiteState, ...]:
        """The states of these suites. Each is fetched once; cached files are checked like new ones.

        Raises ArchiveUnreachable (try again), AccessDenied, InputError, InvalidRelease, BuildError,
        FormatNewer.
        """
        with self._lock:
            missing = tuple(key for key in dict.fromkeys(map(_suite, sources)) if key not in self._states)
            cached = {key: known for key in missing if (known := self._read_cached(key))}
            if self._offline and (lacking := [key.suite for key in missing if key not in cached]):
                raise NeverFetched(lacking[0])
            found = cached.values() if self._offline else self._fetch(missing, cached)
            for key, each in zip(missing, found, strict=True):
                self._states[key] = self._checked(key, each, cached.get(key))
            return tuple(replace(self._states[_suite(source)], source=source) for source in sources)

    def _fetch(self, missing: tuple[Source, ...], cached: Mapping[Source, FetchedRelease]) -> list[FetchedRelease]:
        return fetch_releases(missing, cached, self._site.transfers()) if missing else []

    def forget(self) -> None:
        """Forget the states: they are fetched again."""
        with self._lock:
            self._states.clear()

    def _checked(self, source: Source, found: FetchedRelease, cached: FetchedRelease | None) -> SuiteState:
        """Check a fetched file and cache it. A state that is older than the cached one is refused."""
        state = check_release(found.content, source, found.address, found.signature)
        if cached and not source.snapshot and state.release.date < (known_date := _date_of(cached)):
            dates = format_time(state.release.date), format_time(known_date)
            raise older_release(found.address, *dates, self._cache_path(source))
        if found != cached:
            signature = base64.b64encode(found.signature).decode()
            head = document_format.dump({"address": found.address, "tag": found.tag, "signature": signature})
            atomic_file.write_file(self._cache_path(source), head + b"\n" + found.content)
        return state

    def _cache_path(self, source: Source) -> Path:
        return (
            self._folder / f"{quote(source.suite, safe='')}-{canonical_digest(source.snapshot or source.address)[7:23]}"
        )

    def _read_cached(self, source: Source) -> FetchedRelease | None:
        try:
            head, _, content = self._cache_path(source).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        address, tag, signature = _origin(head, self._cache_path(source))
        return FetchedRelease(address, tag, content, signature)


def _origin(head: bytes, path: Path) -> tuple[str, str, bytes]:
    """The address, tag and detached signature in the first line of a cached file.

    Files without a format have a space between address and tag.
    """
    if not head.startswith(b"{"):
        address, _, tag = head.decode(errors="replace").partition(" ")
        return address, tag, b""
    with contextlib.suppress(ValueError):
        header = document_format.parse(head, "the Release file of the last time", path)
        signature = base64.b64decode(str(header.get("signature", "")))
        return str(header.get("address", "")), str(header.get("tag", "")), signature
    return "", "", b""  # the line is damaged: the file is fetched again


def _suite(source: Source) -> Source:
    """The suite without the components and the priority that a recipe sets."""
    return replace(source, components=(), priority=None)


def _date_of(cached: FetchedRelease) -> int:
    """The date of a cached file; 0 if it is damaged and has none."""
    fields = parse_fields(cached.content.decode(errors="replace"))
    try:
        return parse_time(fields.get("date", ""), cached.address)
    except InvalidRelease:
        return 0
