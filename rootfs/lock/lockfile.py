"""Read and write lock files, and compare locks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from debian_inspector.version import compare_versions
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rootfs.errors import InputError, RecipeInvalid
from rootfs.lock.lock import Lock, Package, Release
from rootfs.recipe import types, yaml
from rootfs.recipe.base import AptRequest
from rootfs.recipe.validation import describe_errors
from rootfs.system import atomic_file, document_format
from rootfs.system.digests import canonical_json
from rootfs.system.platforms import platform_name
from rootfs.system.text import format_time

FORMAT = 1  # of lock files; not part of a lock or of its digest
NEWER = "this lock file has format {}: a newer version of Baseforge wrote it. This one knows format {}: update it"
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern="^[0-9][A-Za-z0-9.+:~-]*$")]  # Debian Policy 5.6.12
Word = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]


class _Release(Release):
    model_config = STRICT

    sha256: Sha256


class _Package(Package):
    """A package with strict checks: its values become names of files and addresses."""

    model_config = STRICT

    name: types.PackageName
    version: Version
    architecture: Word
    sha256: Sha256
    size: int = Field(ge=0)
    path: types.Inside


class _Lock(Lock):
    model_config = STRICT

    releases: Annotated[tuple[_Release, ...], *types.NotEmpty]
    packages: Annotated[tuple[_Package, ...], *types.NotEmpty]


class _LockFile(_Lock):
    """A lock file of an image for one platform."""

    format: int = Field(default=FORMAT, ge=document_format.FIRST, le=FORMAT)


class _LockFiles(BaseModel):
    """A lock file of an image for several platforms: a lock for each."""

    model_config = STRICT

    format: int = Field(default=FORMAT, ge=document_format.FIRST, le=FORMAT)
    platforms: Annotated[dict[types.KnownPlatform, _Lock], *types.NotEmpty]


@dataclass(frozen=True)
class Change:
    """One difference between two locks. `kind` is `added`, `removed`, `upgraded`, `downgraded`, `rebuilt` (the same
    version, another file) or `released`; `old` and `new` are versions, or dates of a suite; empty where there is none.
    """

    kind: str
    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.name, " -> ".join(filter(None, (self.old, self.new))))))


def lock_changes(old: Lock, new: Lock) -> list[Change]:
    """The differences of two locks: the suites' dates first, then packages by name."""
    return [*_releases(old, new), *_packages(old, new)]


def _releases(old: Lock, new: Lock) -> Iterator[Change]:
    before, after = ({(each.address, each.suite): each for each in lock.releases} for lock in (old, new))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            dates = (format_time(lock[key].date) if key in lock else "" for lock in (before, after))
            yield Change("released", key[1], *dates)


def _packages(old: Lock, new: Lock) -> Iterator[Change]:
    before, after = (_by_name(lock.packages) for lock in (old, new))
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            kind = "removed" if now is None else "added"
            yield Change(kind, name, was.version if was else "", now.version if now else "")
        elif (was.version, was.sha256) != (now.version, now.sha256):
            yield Change(_kind(was, now), name, was.version, now.version if now.version != was.version else "")


def _by_name(packages: Sequence[Package]) -> dict[str, Package]:
    """Packages by name; those of several architectures by name and architecture."""
    counts = Counter(each.name for each in packages)
    return {each.name if counts[each.name] == 1 else f"{each.name}:{each.architecture}": each for each in packages}


def _kind(was: Package, now: Package) -> str:
    order = compare_versions(was.version, now.version)
    return "upgraded" if order < 0 else "downgraded" if order > 0 else "rebuilt"


def differing_versions(locks: Mapping[str, Lock]) -> dict[str, dict[str, str]]:
    """Packages whose versions differ between platforms: the versions by name and platform."""
    found: dict[str, dict[str, str]] = {}
    for platform, lock in locks.items():
        for package in lock.packages:
            found.setdefault(package.name, {})[platform] = package.version
    return {name: versions for name, versions in sorted(found.items()) if len(set(versions.values())) > 1}


def write_locks(locks: Mapping[str, Lock], path: Path) -> None:
    """Write a lock file: JSON with one package a line, so that a commit shows what changed.

    `locks` are by platform. A single lock is written without its platform.
    """
    if len(locks) == 1:
        [lock] = locks.values()
        text = _text(lock, f' "{document_format.FIELD}": {FORMAT},\n')
    else:
        parts = [f"{json.dumps(platform)}: {_text(each)}" for platform, each in locks.items()]
        text = f'{{"{document_format.FIELD}": {FORMAT}, "platforms": {{\n' + ",\n".join(parts) + "\n}}"
    atomic_file.write_file(path, f"{text}\n".encode())


def _text(lock: Lock, first: str = "") -> str:
    parts = [
        f' "{key}": [\n  {_lines(values)}\n ]'
        for key, values in lock.model_dump(mode="json", exclude={"tarball"}).items()
    ]
    return "{\n" + first + ",\n".join(parts) + "\n}"


def _lines(values: list[object]) -> str:
    return ",\n  ".join(canonical_json(value).decode() for value in values)


def read_locks(path: Path) -> dict[str, Lock]:
    """Read the locks of a file, by platform; the platform is empty if the file names none.

    Raises RecipeInvalid with the place of everything that is wrong in it.
    """
    model: type[_LockFile | _LockFiles] = _LockFile
    try:
        text = path.read_text()
        if isinstance(content := json.loads(text), dict) and "platforms" in content:
            model = _LockFiles
        if newer := document_format.newer(content, FORMAT):
            raise RecipeInvalid([(yaml.load_yaml(path).place((document_format.FIELD,)), NEWER.format(newer, FORMAT))])
        found = model.model_validate_json(text)
        locks = found.platforms if isinstance(found, _LockFiles) else {"": found}
        return {
            platform: Lock.model_validate(lock.model_dump(exclude={document_format.FIELD}))
            for platform, lock in locks.items()
        }
    except OSError as error:
        raise RecipeInvalid([(f"{path}:1:1", f"the file cannot be read: {error.strerror}")]) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise RecipeInvalid([(where, f"this is not the JSON of a lock file: {error.msg}")]) from None
    except ValidationError as error:
        raise RecipeInvalid(describe_errors(error, yaml.load_yaml(path), model)) from None
    except RecursionError:
        raise RecipeInvalid([(f"{path}:1:1", "this is no lock file: it is nested too deeply")]) from None
    except ValueError:
        raise RecipeInvalid([(f"{path}:1:1", "the file is not UTF-8 text")]) from None


def committed_lock(recipe: AptRequest, path: Path, architecture: str) -> Lock:
    """The lock in the file that a recipe names. Raises RecipeInvalid, InputError."""
    locks, platform = read_locks(path), platform_name(architecture)
    if (lock := locks.get("") or locks.get(platform)) is None:
        raise wrong_lock(path, f"it is for {', '.join(locks)}, and {platform} is built")
    known = {recipe.suite, *recipe.pocket_suites, *(suite for each in recipe.repositories for suite in each.suites)}
    suites = {release.suite for release in lock.releases}
    if recipe.suite not in suites or not suites <= known:
        raise wrong_lock(path, f"it is of {', '.join(sorted(suites))}, the recipe of {', '.join(sorted(known))}")
    if others := {package.architecture for package in lock.packages} - {*recipe.architectures(architecture), "all"}:
        raise wrong_lock(path, f"it is for {', '.join(sorted(others))}, and {architecture} is built")
    return lock


def wrong_lock(path: object, reason: str) -> InputError:
    """A lock file is not one of the recipe that names it."""
    return InputError(
        f"this lock is not one of the recipe: {reason}",
        where=str(path),
        hint="Write it anew: `baseforge lock NAME --write FILE`, with the recipe's `lock` taken out.",
    )
