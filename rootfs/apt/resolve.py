"""Resolve a recipe to its lock. apt does it, in a private root that does not touch the machine's own apt."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from rootfs.apt.apt_get import resolve, versions_in
from rootfs.apt.errors import NeverFetched, PackageMissing, PackagesConflict, SuiteError, archive_changing
from rootfs.apt.file_search import packages_with_files
from rootfs.apt.indexes import PackageIndexes, check_components, check_named_components
from rootfs.apt.pins import check_pins
from rootfs.apt.release import SuiteState
from rootfs.apt.release_cache import ReleaseCache
from rootfs.apt.resolve_layer import BaseImagePackages, resolve_layer
from rootfs.apt.root import TIMEOUT, AptRoot, sources_list
from rootfs.apt.sources import Site, Source, suite_sources_for
from rootfs.lock.lock import Lock, Package, is_newer
from rootfs.lock.lockfile import committed_lock
from rootfs.process.host import package_versions
from rootfs.process.run import Log
from rootfs.recipe.base import AptRequest, pocket_suites
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_digest
from rootfs.system.errors import FormatNewer
from rootfs.system.locks import locked

REVISION = 3  # raised when the same archive and recipe would give another lock because this program changed
TRIES = 3
LOCK_TIMEOUT = TIMEOUT + 60  # seconds to wait for another run that reads or writes the indexes
# The keys of a recipe that decide its packages, besides those that decide its sources.
PACKAGE_KEYS = ("suite", "pockets", "components", "variant", "include", "exclude", "recommends", "repositories", "pins")


class Apt:
    """Resolve recipes to locks. Each archive is asked once for its state, until `forget`.

    `cache` is a folder that later runs reuse; threads and processes may share it. Only what has changed is fetched, and
    nothing when `offline`.
    """

    def __init__(self, cache: Path, site: Site, *, offline: bool = False, log: Log) -> None:
        self._cache, self._site, self._offline = cache.absolute(), site, offline
        self._releases = ReleaseCache(self._cache / "releases", site, offline=offline)
        self._indexes, self._log = PackageIndexes(self._cache, site), log

    def with_log(self, log: Log) -> Apt:
        """The same apt, which shares all that it knows, with another log for what its programs print."""
        other = copy.copy(self)
        other._log = log
        return other

    def lock(
        self,
        recipe: AptRequest,
        files: Path,
        architecture: str,
        base_image: BaseImagePackages | None = None,
        *,
        without_dependencies: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
    ) -> Lock:
        """The exact packages that a recipe resolves to, or that it adds to the packages of its base image.

        `files` is the folder of the files that the recipe names. `without_dependencies` names additional packages;
        the suite need not have those that are `optional`.

        Raises NetworkFailure (try again), BuildError, InvalidRelease, and for mistakes
        in the recipe InputError, PackageMissing, PackagesConflict and others.
        """
        if recipe.lock is not None:
            return committed_lock(recipe, files / recipe.lock, architecture)
        architectures = recipe.architectures(architecture)
        requested = self._sources(recipe, files, architectures)
        for attempt in range(TRIES):
            states = self._states(requested)
            for state in states:
                if state.source.suite not in recipe.pocket_suites:
                    check_components(state, architectures)
                if state.source.suite == recipe.suite and not state.source.further:
                    check_named_components(state, recipe.named_components)
            if lock := self._resolve(
                recipe, states, architectures, base_image, (without_dependencies, optional), refetch=attempt > 0
            ):
                return lock
            self._releases.forget()
        raise archive_changing(states[0].source.folder, "")

    def suite_states(self, recipe: AptRequest, files: Path, architecture: str) -> dict[str, str]:
        """The sha256 of the Release file of each suite of a recipe, by its address: what changes if its packages do.

        Only Release files are asked for, and one that has not changed is not sent again. Raises as `lock` does.
        """
        states = self._states(self._sources(recipe, files, recipe.architectures(architecture)))
        return {f"{state.source.folder} {state.source.suite}": state.release.sha256 for state in states}

    def packages_with(self, recipe: AptRequest, files: Path, architecture: str, names: Iterable[str]) -> dict[str, str]:
        """Find packages of the recipe's suites by the names of files in them. The result is empty when offline."""
        if self._offline:
            return {}
        with locked(self._cache / "contents.lock", wait=LOCK_TIMEOUT):
            states = self._states(self._sources(recipe, files, recipe.architectures(architecture)))
            text = sources_list(state.source for state in states)
            root = AptRoot(self._cache / "contents", text, recipe.architectures(architecture), site=self._site)
            return packages_with_files(root, names, self._log)

    def security_fixes(
        self, recipe: AptRequest, files: Path, architecture: str, installed: Mapping[str, str]
    ) -> frozenset[str]:
        """The names of packages that a suite of security updates has in a newer version than the installed one.

        Another suite may have the same version, or a newer one that includes the fix. Raises what `lock` raises.
        """
        states = self._states(self._sources(recipe, files, recipe.architectures(architecture)))
        secure = [each for each in states if _is_security(recipe, each)]
        if not secure or not installed:
            return frozenset()
        with locked(self._cache / "lock", shared=True, wait=LOCK_TIMEOUT):
            found = list(
                versions_in(self._indexes.root(states, recipe.architectures(architecture)), sorted(installed), secure)
            )
        return frozenset(name for name, version in found if is_newer(version, installed[name]))

    def forget(self) -> None:
        """Forget the archives' states: the next lock asks for them again."""
        self._releases.forget()

    def _states(self, requested: tuple[Source, ...]) -> tuple[SuiteState, ...]:
        """The states of these suites. A suite without support is looked for where it moves to, too."""
        try:
            return self._releases.states(requested)
        except (SuiteError, NeverFetched) as error:
            moving = {(each.address, each.suite) for each in requested if each.ended not in ("", each.address)}
            if not moving or (isinstance(error, SuiteError) and (error.archive, error.suite) not in moving):
                raise
            return self._releases.states(tuple(_moved_source(source, self._site) for source in requested))

    def _sources(self, recipe: AptRequest, files: Path, architectures: tuple[str, ...]) -> tuple[Source, ...]:
        """The suites that a recipe takes packages from, those of its own distribution first."""
        cache = self._cache / "addresses"
        own = suite_sources_for(recipe.suite, recipe.pockets, recipe.components, architectures, self._site, cache)
        requested = own + _repository_sources(recipe, files, architectures, self._site)
        if recipe.snapshot is None:
            return requested
        return tuple(_snapshot_source(source, recipe.snapshot, self._site) for source in requested)

    def _resolve(
        self,
        recipe: AptRequest,
        states: tuple[SuiteState, ...],
        architectures: tuple[str, ...],
        base_image: BaseImagePackages | None,
        standalone: tuple[tuple[str, ...], tuple[str, ...]],
        *,
        refetch: bool,
    ) -> Lock | None:
        """The lock for these states of the suites, or None if an archive has a newer state by now.

        `standalone` are the packages without their dependencies, and those of them that are optional.
        """
        cache = _LockCache(self._cache / "locks", (recipe, *standalone), states, architectures, base_image)
        if known := cache.read():
            return known
        self._update(states, architectures, refetch=refetch)
        variant_packages = None if base_image else self._variant_packages(recipe, states, architectures)
        with locked(self._cache / "lock", shared=True, wait=LOCK_TIMEOUT):
            if self._indexes.stale(states, architectures):
                return None
            root = self._indexes.root(states, architectures)
            if variant_packages is None:  # else the recipe without its `include` has been resolved, with the same pins
                check_pins(root, recipe, states)
            if base_image:
                packages = resolve_layer(root, recipe, states, base_image)
            else:
                packages = resolve(root, recipe, states, *standalone, variant_packages=variant_packages)
        lock = Lock(releases=tuple(state.release for state in states), packages=tuple(packages))
        cache.write(lock)
        return lock

    def _variant_packages(
        self, recipe: AptRequest, states: tuple[SuiteState, ...], architectures: tuple[str, ...]
    ) -> tuple[Package, ...] | None:
        """The packages of the recipe without its `include`, which many recipes share: that saves runs of apt.

        Empty if they cannot be resolved. None if the recipe has no `include`, or nothing else.
        """
        if not recipe.include or recipe.variant == "none":
            return None
        bare_recipe = recipe.model_copy(update={"include": ()})
        try:
            lock = self._resolve(bare_recipe, states, architectures, None, ((), ()), refetch=False)
        except (PackageMissing, PackagesConflict):
            return ()
        return lock.packages if lock else ()

    def _update(self, states: tuple[SuiteState, ...], architectures: tuple[str, ...], *, refetch: bool) -> None:
        """Fetch the indexes that do not belong to these states, under an exclusive lock if there are any."""
        with locked(self._cache / "lock", shared=True, wait=LOCK_TIMEOUT):
            if not self._indexes.stale(states, architectures):
                return
        with locked(self._cache / "lock", wait=LOCK_TIMEOUT):
            stale = self._indexes.stale(states, architectures)
            if stale and self._offline:
                raise NeverFetched(stale[0].source.suite)
            if stale:
                self._indexes.update(stale, architectures, self._log, refetch=refetch)


def _is_security(recipe: AptRequest, state: SuiteState) -> bool:
    """Whether a suite has security updates, as its name or its label says."""
    names = (state.source.suite, state.field("Label"))
    pocket = state.source.suite in pocket_suites(recipe.suite, ("security",))
    return pocket or any(name.lower().endswith("-security") for name in names)


def _repository_sources(
    recipe: AptRequest, files: Path, architectures: tuple[str, ...], site: Site
) -> tuple[Source, ...]:
    """The suites of the recipe's additional repositories that are for one of these architectures."""
    return tuple(
        Source(
            address=(address := each.uri.rstrip("/")),
            mirror=site.mirror(address),
            suite=suite,
            components=each.components_of(suite),
            keyring=files / each.keyring,
            priority=each.priority,
            further=True,
            release=each.release or "",
            architectures=() if used == architectures else used,
        )
        for each in recipe.repositories
        for suite in each.suites
        if (used := tuple(name for name in architectures if each.is_for(name)))
    )


def _moved_source(source: Source, site: Site) -> Source:
    """The source of a suite without support at the address that it moves to; else the same."""
    return replace(source, address=source.ended, mirror=site.mirror(source.ended)) if source.ended else source


def _snapshot_source(source: Source, timestamp: str, site: Site) -> Source:
    address = site.snapshot(source.address, timestamp)
    return replace(source, mirror=site.mirror(address), snapshot=address, ended="")


class _LockCache:
    """A cache file with the last lock of a recipe, and a digest of everything that decided it."""

    def __init__(
        self,
        folder: Path,
        requested: tuple[AptRequest, *tuple[tuple[str, ...], ...]],
        states: tuple[SuiteState, ...],
        architectures: tuple[str, ...],
        base_image: BaseImagePackages | None,
    ) -> None:
        request = [requested[0].model_dump(mode="json", include=set(PACKAGE_KEYS)), *requested[1:]]
        addresses = [[state.source.address, state.source.mirror, state.source.suite] for state in states]
        base_names = [base_image.parent] if base_image else []
        self._file = folder / f"{canonical_digest([request, addresses, *architectures, *base_names])[7:]}.json"
        releases = [state.release.sha256 for state in states]
        self._key = canonical_digest(
            [releases, package_versions(("apt",)), REVISION, *([base_image.digest] if base_image else [])]
        )

    def read(self) -> Lock | None:
        """The cached lock, if its inputs are the same. A damaged cache file is ignored."""
        try:
            found = document_format.parse(self._file.read_bytes(), "the lock of an earlier night", self._file)
            lock = Lock.model_validate(found["lock"])
            return lock if (found["key"], found["digest"]) == (self._key, lock.digest) else None
        except (FileNotFoundError, FormatNewer, ValueError, TypeError, KeyError, ValidationError):
            return None

    def write(self, lock: Lock) -> None:
        """Write the lock to the cache."""
        content = {"key": self._key, "digest": lock.digest, "lock": lock.model_dump(mode="json")}
        atomic_file.write_file(self._file, document_format.dump(content))
