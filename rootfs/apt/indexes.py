"""Package indexes of suites (apt calls them lists), in one folder; fetched when they differ from the Release files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rootfs.apt.errors import (
    AccessDenied,
    ArchiveUnreachable,
    architecture_missing,
    archive_changing,
    component_missing,
    no_packages,
)
from rootfs.apt.release import SuiteState
from rootfs.apt.root import AptRoot, index_file_name, sources_list
from rootfs.apt.sources import Site
from rootfs.process.errors import ProgramFailed, ProgramTimedOut
from rootfs.process.run import Log
from rootfs.system.cache import file_state, last_used, prune
from rootfs.system.digests import canonical_digest, sha256_of_file

USED = "used"  # a file whose modification time says when a set of sources was used last
COMPRESSIONS = ("", ".xz", ".gz", ".zst", ".bz2")  # how indexes are compressed
MAX_ROOTS = 32  # sets of sources whose cache is kept; one of Debian's takes 45 MB
# apt ends transfers that stall, not slow ones: indexes have to arrive at this rate, with some extra time.
MIN_RATE = 32 << 10  # bytes a second
GRACE = 120.0  # seconds
DENIED = re.compile(r"(401|403|407) +([^[]*)")  # how apt reports a refusal
CHANGING = re.compile(r"Hash Sum mismatch|unexpected size|Mirror sync in progress|does not contain|Clearsigned file")


class PackageIndexes:
    """The indexes of all suites, and a private apt for each set of sources, in `folder`."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self._site = folder, site
        self._sums: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def root(self, states: tuple[SuiteState, ...], architectures: tuple[str, ...]) -> AptRoot:
        """A private apt with just these suites."""
        text = sources_list(state.source for state in states)
        folder = self.folder / "roots" / canonical_digest([text, *architectures])[7:23]
        root = AptRoot(folder, text, architectures, self.folder / "lists", site=self._site)
        (folder / USED).touch()  # not a file of apt's own: apt would rebuild its cache
        return root

    def stale(self, states: Iterable[SuiteState], architectures: tuple[str, ...]) -> tuple[SuiteState, ...]:
        """The suites whose indexes are not exactly those that their Release files name."""
        return tuple(state for state in states if not self._fresh(state, architectures))

    def update(
        self, states: tuple[SuiteState, ...], architectures: tuple[str, ...], log: Log, *, refetch: bool
    ) -> None:
        """Fetch the indexes of these suites; with `refetch` also those that seem unchanged.

        Raises NetworkFailure and ArchiveUnreachable (try again), AccessDenied.
        """
        for state in states:
            for file in self._files(state, architectures) if refetch else self._outdated(state, architectures):
                file.unlink(missing_ok=True)
        root = self.root(states, architectures)
        seconds = GRACE + sum(_size(state, architectures) for state in states) / MIN_RATE
        try:
            result = root.run("apt-get", "update", "-q", check=False, log=log, timeout=seconds)
        except ProgramTimedOut as error:
            mirrors = " and ".join(dict.fromkeys(state.source.mirror for state in states))
            raise ArchiveUnreachable(mirrors, f"it is slow: its lists did not come within {seconds:.0f} s") from error
        if result.status:
            raise _error_of(result.status, result.stderr, states)
        prune(self.folder / "roots", max_entries=MAX_ROOTS, used=lambda root: last_used(root / USED))

    def _fresh(self, state: SuiteState, architectures: tuple[str, ...]) -> bool:
        releases = (self._sum(self._file(state, name)) for name in ("InRelease", "Release"))
        return state.release.sha256 in releases and not any(self._outdated(state, architectures))

    def _outdated(self, state: SuiteState, architectures: tuple[str, ...]) -> Iterator[Path]:
        """The indexes that are damaged, missing, or of another state of the suite."""
        for path in state.source.index_paths(architectures):
            file, entry = self._file(state, path), state.index(path)
            empty = entry[1] == 0 if entry else not has_index(state, path)
            found = self._sum(file)
            if (found != entry[0]) if found and entry else (not found and not is_for_all(path) and not empty):
                yield file

    def _files(self, state: SuiteState, architectures: tuple[str, ...]) -> Iterator[Path]:
        """All of apt's files of a suite, not those of suites whose names begin the same."""
        for path in ("InRelease", "Release", "Release.gpg", *state.source.index_paths(architectures)):
            yield self._file(state, path)

    def _file(self, state: SuiteState, path: str) -> Path:
        """apt's file of one of a suite's indexes, or of its Release file."""
        return self.folder / "lists" / index_file_name(f"{state.source.folder}/{path}")

    def _sum(self, file: Path) -> str:
        """The sha256 of a file in hex, cached until the file changes; empty if there is no file."""
        try:
            is_now = file_state(file)
            known = self._sums.get(file)
            if known is None or known[0] != is_now:
                known = self._sums[file] = (is_now, sha256_of_file(file))
        except FileNotFoundError:
            return ""
        return known[1]


def _size(state: SuiteState, architectures: tuple[str, ...]) -> int:
    """The size in bytes of a suite's indexes as they are fetched, compressed if the archive has them so."""
    total = 0
    for path in state.source.index_paths(architectures):
        found = [state.index(f"{path}{ending}") for ending in COMPRESSIONS]
        plain, *compressed = [entry[1] if entry else 0 for entry in found]
        total += max(compressed) or plain
    return total


def has_index(state: SuiteState, path: str) -> bool:
    """Whether a Release file names an index, compressed or not."""
    return any(state.index(f"{path}{ending}") for ending in COMPRESSIONS)


def is_for_all(path: str) -> bool:
    """Whether an index has packages for all architectures, which an archive may have in the other indexes instead."""
    return path.endswith("/binary-all/Packages")


def check_named_components(state: SuiteState, named: Sequence[str]) -> None:
    """Raises InputError for a component that apt in the image is to use and that a suite does not have."""
    known = _component_names(state)
    for component in named if known else ():
        if component not in known:
            raise component_missing(state.source.address, state.source.suite, component, known)


def _component_names(state: SuiteState) -> list[str]:
    """The components of a suite as its Release file lists them; security archives have a folder before each."""
    return [name.rpartition("/")[2] for name in state.field("Components").split()]


def check_components(state: SuiteState, architectures: tuple[str, ...]) -> None:
    """Raises InputError when a suite has no packages of a component for an architecture.

    A further archive need not have packages for the foreign ones.
    """
    used = state.source.used_for(architectures)
    for architecture in used[:1] if state.source.further else used:
        _check_components(state, architecture)


def _check_components(state: SuiteState, architecture: str) -> None:
    source = state.source
    if source.flat:
        if not has_index(state, "Packages"):
            raise no_packages(source.address, source.suite, source.folder)
        return
    for component in source.components:
        if not any(has_index(state, f"{component}/binary-{each}/Packages") for each in (architecture, "all")):
            known = _component_names(state)
            of = [each for each in state.field("Architectures").split() if each != "all"]
            if component in known and of and architecture not in of:
                raise architecture_missing(source.address, source.suite, architecture, of, further=source.further)
            raise component_missing(source.address, source.suite, component, known, architecture)


def _error_of(status: int, output: str, states: tuple[SuiteState, ...]) -> Exception:
    messages = "\n".join(line for line in output.splitlines() if line.startswith(("E: ", "W: ", "   ")))
    failed = re.search(r"^[EW]: Failed to fetch (\S+)\s+(.*)", output, re.MULTILINE)
    if CHANGING.search(output):
        return archive_changing(failed[1] if failed else states[0].source.folder, messages)
    if failed and (denied := DENIED.match(failed[2])):
        return AccessDenied(failed[1], int(denied[1]), denied[2].strip(), known=False)
    if failed:
        return ArchiveUnreachable(failed[1], failed[2])
    return ProgramFailed("apt-get", status, messages or output)
