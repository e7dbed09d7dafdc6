"""From a recipe to its lock: apt resolves, in a private root that never touches the machine's own apt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from rootfs.apt.errors import PackageMissing, PackagesConflict, archive_changing, never_fetched
from rootfs.apt.file_search import packages_with_files
from rootfs.apt.indexes import PackageIndexes, check_components
from rootfs.apt.release import SuiteState
from rootfs.apt.release_cache import ReleaseCache
from rootfs.apt.resolve import resolve
from rootfs.apt.resolve_layer import BaseImagePackages, resolve_layer
from rootfs.apt.root import TIMEOUT, AptRoot, sources_list
from rootfs.apt.sources import Site, Source, suite_sources
from rootfs.lock.lock import Lock, Package
from rootfs.lock.lockfile import committed_lock
from rootfs.process.host import package_versions
from rootfs.process.run import Log
from rootfs.recipe.base import Origin
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.errors import FormatNewer
from rootfs.system.locks import locked

REVISION = 2  # raised when the same archive and recipe would give another lock because this program changed
TRIES = 3
LONGEST = TIMEOUT + 60  # seconds to wait for another run whose apt reads or writes the lists
# What of a recipe decides its packages, besides what decides its sources.
ASKED = ("suite", "pockets", "components", "variant", "include", "exclude", "recommends", "repositories", "pins")


class Apt:
    """What recipes mean on one night: archives are asked once. `cache` is kept from night to night.

    Threads and processes may share a cache. Not `offline`, it asks an archive only for what has changed.
    """

    def __init__(self, cache: Path, site: Site, *, offline: bool = False, log: Log) -> None:
        self._cache, self._site, self._offline = cache.absolute(), site, offline
        self._suites = ReleaseCache(self._cache / "releases", site, offline=offline)
        self._lists, self._log = PackageIndexes(self._cache, site.auth, log), log

    def lock(
        self,
        recipe: Origin,
        files: Path,
        architecture: str,
        below: BaseImagePackages | None = None,
        *,
        alone: tuple[str, ...] = (),
    ) -> Lock:
        """The exact packages a recipe means, or adds to those `below`; `files` is the folder of the files it names.

        Packages that come `alone` come without those they depend on.

        Raises NetworkFailure (try again), BuildError, InvalidRelease, and what is the
        recipe's own fault: InputError, PackageMissing, PackagesConflict and others;
        a layer's also BuildError and InputError.
        """
        if recipe.lock is not None:
            return committed_lock(recipe, files / recipe.lock, architecture)
        wanted = self._sources(recipe, files, architecture)
        for attempt in range(TRIES):
            states = self._suites.states(wanted)
            for state in states:
                if state.source.suite not in {f"{recipe.suite}-{pocket}" for pocket in recipe.pockets}:
                    check_components(state, architecture)
            if lock := self._resolved(recipe, states, architecture, below, alone, afresh=attempt > 0):
                return lock
            self._suites.forget()
        raise archive_changing(states[0].source.folder, "")

    def packages_with(self, recipe: Origin, files: Path, architecture: str, names: Iterable[str]) -> dict[str, str]:
        """The package of the recipe's suites that has a file of each of these names; only those found, none offline."""
        if self._offline:
            return {}
        with locked(self._cache / "contents.lock", wait=LONGEST):
            text = sources_list(self._sources(recipe, files, architecture))
            root = AptRoot(self._cache / "contents", text, architecture, auth=self._site.auth)
            return packages_with_files(root, names, self._log)

    def forget(self) -> None:
        """Ask the archives anew: one has moved on."""
        self._suites.forget()

    def _sources(self, recipe: Origin, files: Path, architecture: str) -> tuple[Source, ...]:
        """The suites that a recipe takes packages from, its own distribution's first."""
        memo = self._cache / "addresses"
        own = suite_sources(recipe.suite, recipe.pockets, recipe.components, architecture, self._site, memo)
        wanted = own + _further(recipe, files, self._site)
        if recipe.snapshot is None:
            return wanted
        return tuple(_at(source, recipe.snapshot, self._site) for source in wanted)

    def _resolved(
        self,
        recipe: Origin,
        states: tuple[SuiteState, ...],
        architecture: str,
        below: BaseImagePackages | None,
        alone: tuple[str, ...],
        *,
        afresh: bool,
    ) -> Lock | None:
        """The lock in this state of the suites; none where an archive has a newer one by now."""
        memo = _Memo(self._cache / "locks", (recipe, alone), states, architecture, below)
        if known := memo.read():
            return known
        self._update(states, architecture, afresh=afresh)
        bare = None if below else self._bare(recipe, states, architecture)
        with locked(self._cache / "lock", shared=True, wait=LONGEST):
            if self._lists.stale(states, architecture):
                return None
            root = self._lists.root(states, architecture)
            if below:
                packages = resolve_layer(root, recipe, states, below)
            else:
                packages = resolve(root, recipe, states, alone, bare)
        lock = Lock(releases=tuple(state.release for state in states), packages=tuple(packages))
        memo.write(lock)
        return lock

    def _bare(self, recipe: Origin, states: tuple[SuiteState, ...], architecture: str) -> tuple[Package, ...] | None:
        """What the recipe means without its `include`: many share that, and apt spends a second on any question.

        Nothing where it cannot be so; None where the recipe has no `include`, or nothing besides.
        """
        if not recipe.include or recipe.variant == "none":
            return None
        without = recipe.model_copy(update={"include": ()})
        try:
            lock = self._resolved(without, states, architecture, None, (), afresh=False)
        except (PackageMissing, PackagesConflict):
            return ()
        return lock.packages if lock else ()

    def _update(self, states: tuple[SuiteState, ...], architecture: str, *, afresh: bool) -> None:
        """Fetch the lists that are not those of this state; who only reads them waits for nobody."""
        with locked(self._cache / "lock", shared=True, wait=LONGEST):
            if not self._lists.stale(states, architecture):
                return
        with locked(self._cache / "lock", wait=LONGEST):
            stale = self._lists.stale(states, architecture)
            if stale and self._offline:
                raise never_fetched(stale[0].source.suite)
            if stale:
                self._lists.update(stale, architecture, afresh=afresh)


def _further(recipe: Origin, files: Path, site: Site) -> tuple[Source, ...]:
    """The suites of the recipe's further archives."""
    return tuple(
        Source(
            address=(address := each.uri.rstrip("/")),
            mirror=site.mirror(address),
            suite=suite,
            components=each.components,
            keyring=files / each.keyring,
            priority=each.priority,
        )
        for each in recipe.repositories
        for suite in each.suites
    )


def _at(source: Source, moment: str, site: Site) -> Source:
    address = site.snapshot(source.address, moment)
    return replace(source, mirror=site.mirror(address), snapshot=address)


class _Memo:
    """The lock that a recipe had last, with everything that decided it."""

    def __init__(
        self,
        folder: Path,
        wanted: tuple[Origin, tuple[str, ...]],
        states: tuple[SuiteState, ...],
        architecture: str,
        below: BaseImagePackages | None,
    ) -> None:
        asked = [wanted[0].model_dump(mode="json", include=set(ASKED)), wanted[1]]
        where = [[state.source.address, state.source.mirror, state.source.suite] for state in states]
        beside = [below.parent] if below else []
        self._file = folder / f"{canonical_digest([asked, where, architecture, *beside])[7:]}.json"
        releases = [state.release.sha256 for state in states]
        self._key = canonical_digest(
            [releases, package_versions(("apt",)), REVISION, *([below.digest] if below else [])]
        )

    def read(self) -> Lock | None:
        """The lock, if everything is as it was; a damaged memo is none."""
        try:
            found = document_format.parse(self._file.read_bytes(), "the lock of an earlier night", self._file)
            lock = Lock.model_validate(found["lock"])
            return lock if (found["key"], found["digest"]) == (self._key, lock.digest) else None
        except (FileNotFoundError, FormatNewer, ValueError, TypeError, KeyError, ValidationError):
            return None

    def write(self, lock: Lock) -> None:
        """Keep a lock in place of the one before."""
        content = {"key": self._key, "digest": lock.digest, "lock": lock.model_dump(mode="json")}
        atomic_file.write_file(self._file, document_format.dump(content))
