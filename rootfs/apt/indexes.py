"""apt's lists: the indexes of all suites in one folder, fetched when they are not those that the Release files name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rootfs.apt.errors import AccessDenied, ArchiveUnreachable, archive_changing, component_missing
from rootfs.apt.release import SuiteState
from rootfs.apt.root import AptRoot, index_file_name, sources_list
from rootfs.process.errors import ProgramFailed, ProgramTimedOut
from rootfs.process.run import Log
from rootfs.system.cache import file_state, last_used, prune
from rootfs.system.digests import canonical_digest, sha256_of_file

USED = "used"  # a file whose time is when a set of sources was used last
ENDINGS = ("", ".xz", ".gz", ".zst", ".bz2")  # how indexes are compressed
ROOTS = 32  # sets of sources whose cache is kept; one of Debian's takes 45 MB
# apt ends what has come to a halt, not what is slow: its lists must come at this rate, and a little more time.
RATE = 32 << 10  # bytes a second
GRACE = 120.0  # seconds
DENIED = re.compile(r"(401|403|407) +([^[]*)")  # how apt reports a refusal
UNLIKE = re.compile(r"Hash Sum mismatch|unexpected size|Mirror sync in progress|does not contain|Clearsigned file")


class PackageIndexes:
    """The lists of all suites for one architecture, and an apt for each set of sources, in `folder`."""

    def __init__(self, folder: Path, auth: Path | None, log: Log) -> None:
        self.folder, self._auth, self._log = folder, auth, log
        self._sums: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def root(self, states: tuple[SuiteState, ...], architecture: str) -> AptRoot:
        """apt with just these suites."""
        text = sources_list(state.source for state in states)
        folder = self.folder / "roots" / canonical_digest([text, architecture])[7:23]
        root = AptRoot(folder, text, architecture, self.folder / "lists", auth=self._auth)
        (folder / USED).touch()  # no file of apt's: it would make its cache of a list again
        return root

    def stale(self, states: Iterable[SuiteState], architecture: str) -> tuple[SuiteState, ...]:
        """The suites whose lists are not, to the last bit, what their Release files say."""
        return tuple(state for state in states if not self._fresh(state, architecture))

    def update(self, states: tuple[SuiteState, ...], architecture: str, *, afresh: bool) -> None:
        """Fetch the lists of these suites; `afresh` even what seems not to have changed.

        Raises NetworkFailure and ArchiveUnreachable (try again), AccessDenied.
        """
        for state in states:
            for file in self._files(state) if afresh else self._wrong(state, architecture):
                file.unlink(missing_ok=True)
        used = self.root(states, architecture)
        seconds = GRACE + sum(_size(state, architecture) for state in states) / RATE
        try:
            done = used.run("apt-get", "update", "-q", check=False, log=self._log, timeout=seconds)
        except ProgramTimedOut as error:
            where = " and ".join(dict.fromkeys(state.source.mirror for state in states))
            raise ArchiveUnreachable(where, f"it is slow: its lists did not come within {seconds:.0f} s") from error
        if done.status:
            raise _explained(done.status, done.stderr, states)
        prune(self.folder / "roots", max_entries=ROOTS, used=lambda root: last_used(root / USED))

    def _fresh(self, state: SuiteState, architecture: str) -> bool:
        release = self.folder / "lists" / f"{index_file_name(state.source.folder)}_InRelease"
        return self._sum(release) == state.release.sha256 and not any(self._wrong(state, architecture))

    def _wrong(self, state: SuiteState, architecture: str) -> Iterator[Path]:
        """The lists that are damaged, of another state of the suite, or missing."""
        for component in state.source.components:
            for word in (architecture, "all"):
                file = (
                    self.folder / "lists" / f"{index_file_name(state.source.folder)}_{component}_binary-{word}_Packages"
                )
                entry = state.index(f"{component}/binary-{word}/Packages")
                empty = entry[1] == 0 if entry else not has_index(state, component, word)
                found = self._sum(file)
                if (found != entry[0]) if found and entry else (not found and word != "all" and not empty):
                    yield file

    def _files(self, state: SuiteState) -> list[Path]:
        """Everything that apt keeps of a suite."""
        start = f"{index_file_name(state.source.folder)}_"
        return [path for path in (self.folder / "lists").iterdir() if path.name.startswith(start)]

    def _sum(self, file: Path) -> str:
        """sha256 in hex, of a file that has not changed since from memory; empty where there is none."""
        try:
            is_now = file_state(file)
            known = self._sums.get(file)
            if known is None or known[0] != is_now:
                known = self._sums[file] = (is_now, sha256_of_file(file))
        except FileNotFoundError:
            return ""
        return known[1]


def _size(state: SuiteState, architecture: str) -> int:
    """The bytes of a suite's lists as they are fetched: compressed, where the archive has them so."""
    total = 0
    for component in state.source.components:
        for word in (architecture, "all"):
            found = [state.index(f"{component}/binary-{word}/Packages{ending}") for ending in ENDINGS]
            plain, *compressed = [entry[1] if entry else 0 for entry in found]
            total += max(compressed) or plain
    return total


def has_index(state: SuiteState, component: str, architecture: str) -> bool:
    """Whether a Release file names packages of a component for an architecture."""
    return any(state.index(f"{component}/binary-{architecture}/Packages{ending}") for ending in ENDINGS)


def check_components(state: SuiteState, architecture: str) -> None:
    """Raises InputError when a suite has no packages of a component for the architecture."""
    for component in state.source.components:
        if not any(has_index(state, component, word) for word in (architecture, "all")):
            known = [name.rpartition("/")[2] for name in state.field("Components").split()]
            raise component_missing(state.source.suite, component, architecture, known)


def _explained(status: int, output: str, states: tuple[SuiteState, ...]) -> Exception:
    said = "\n".join(line for line in output.splitlines() if line.startswith(("E: ", "W: ", "   ")))
    broken = re.search(r"^[EW]: Failed to fetch (\S+)\s+(.*)", output, re.MULTILINE)
    if UNLIKE.search(output):
        return archive_changing(broken[1] if broken else states[0].source.folder, said)
    if broken and (denied := DENIED.match(broken[2])):
        return AccessDenied(broken[1], int(denied[1]), denied[2].strip(), known=False)
    if broken:
        return ArchiveUnreachable(broken[1], broken[2])
    return ProgramFailed("apt-get", status, said or output)
