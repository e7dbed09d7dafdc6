"""What archives say of their suites today: each asked once, remembered for the next night, never an older state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rootfs.apt.errors import InvalidRelease, never_fetched, older_release
from rootfs.apt.release import FetchedRelease, SuiteState, check_release, fetch_releases, parse_fields, parse_time
from rootfs.apt.sources import Site, Source
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.text import format_time


class ReleaseCache:
    """The states of suites. `folder` keeps each suite's newest InRelease from one night to the next."""

    def __init__(self, folder: Path, site: Site, *, offline: bool) -> None:
        self._folder, self._site, self._offline = folder, site, offline
        self._states: dict[Source, SuiteState] = {}
        self._asking = threading.Lock()

    def states(self, sources: tuple[Source, ...]) -> tuple[SuiteState, ...]:
        """The states of these suites; an archive is asked for each once. What is kept is checked like what is new.

        Raises ArchiveUnreachable (try again), AccessDenied, InputError, BuildError, InvalidRelease,
        BuildError, FormatNewer.
        """
        with self._asking:
            missing = tuple(key for key in dict.fromkeys(map(_suite, sources)) if key not in self._states)
            before = {key: known for key in missing if (known := self._kept(key))}
            if self._offline and (lacking := [key.suite for key in missing if key not in before]):
                raise never_fetched(lacking[0])
            found = before.values() if self._offline else self._asked(missing, before)
            for key, each in zip(missing, found, strict=True):
                self._states[key] = self._checked(key, each, before.get(key))
            return tuple(replace(self._states[_suite(source)], source=source) for source in sources)

    def _asked(self, missing: tuple[Source, ...], before: Mapping[Source, FetchedRelease]) -> list[FetchedRelease]:
        return fetch_releases(missing, before, self._site.transfers()) if missing else []

    def forget(self) -> None:
        """Ask anew: an archive has moved on."""
        with self._asking:
            self._states.clear()

    def _checked(self, source: Source, found: FetchedRelease, before: FetchedRelease | None) -> SuiteState:
        """Whatever is kept has been checked: an older state than that is not taken, nor is it forgotten."""
        state = check_release(found.content, source, found.address)
        if before and not source.snapshot and state.release.date < (seen := _date(before)):
            dates = format_time(state.release.date), format_time(seen)
            raise older_release(found.address, *dates, self._memory(source))
        if found != before:
            head = document_format.dump({"address": found.address, "tag": found.tag})
            atomic_file.write_file(self._memory(source), head + b"\n" + found.content)
        return state

    def _memory(self, source: Source) -> Path:
        return self._folder / f"{source.suite}-{canonical_digest(source.snapshot or source.address)[7:23]}"

    def _kept(self, source: Source) -> FetchedRelease | None:
        try:
            head, _, content = self._memory(source).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        address, tag = _origin(head, self._memory(source))
        return FetchedRelease(address, tag, content)


def _origin(head: bytes, note: Path) -> tuple[str, str]:
    """The address and the tag in the first line of a note; in one without a format, a space is between them."""
    if not head.startswith(b"{"):
        address, _, tag = head.decode(errors="replace").partition(" ")
        return address, tag
    with contextlib.suppress(ValueError):
        said = document_format.parse(head, "the Release file of the last time", note)
        return str(said.get("address", "")), str(said.get("tag", ""))
    return "", ""  # the line is damaged: the file is asked for anew


def _suite(source: Source) -> Source:
    """The suite alone, whatever a recipe wants of it."""
    return replace(source, components=(), priority=None)


def _date(kept_before: FetchedRelease) -> int:
    """The date of what was kept; 1970 where it is so damaged that it has none."""
    fields = parse_fields(kept_before.content.decode(errors="replace"))
    try:
        return parse_time(fields.get("date", ""), kept_before.address)
    except InvalidRelease:
        return 0
