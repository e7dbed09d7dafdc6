"""Why an image is built: what differs between its inputs and its newest build; and the packages that two builds differ
in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flows.inputs.resolve import ImageInputs, Inputs
from flows.night.cves import CveReader
from flows.night.document import PackageChange
from flows.publish.record import BaseImageBuild, Record
from flows.publish.stored_builds import installed_packages
from flows.store.store import Store
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.lock.lock import Lock
from rootfs.lock.lockfile import lock_changes

SHOWN = 5  # packages in a reason; the document has them all
NEW = "new image"
FORCED = "forced"


def why_built(inputs: ImageInputs, before: Record | None) -> tuple[str, tuple[PackageChange, ...]]:
    """Why an image is built, in a few words, and the packages of its lock that are other ones than in its newest build.

    Of several platforms each reason is named once.
    """
    if before is None:
        return NEW, ()
    changes: dict[PackageChange, None] = {}
    reasons: dict[str, None] = {}
    for each in inputs.platforms:
        if (part := before.of(each.platform)) is None:
            reasons[f"platform {each.platform} added"] = None
            continue
        here = package_changes(part.lock, each.lock)
        changes.update(dict.fromkeys(here))
        reasons.update(dict.fromkeys(_reasons(each, part, here)))
    platforms = {each.platform for each in inputs.platforms}
    reasons.update(dict.fromkeys(f"platform {each} removed" for each in before.platforms if each not in platforms))
    return "; ".join(reasons or [_unseen(inputs, before)]), tuple(changes)


def _reasons(inputs: Inputs, before: Record, changes: Iterable[PackageChange]) -> Iterator[str]:
    if inputs.recipe_digest != before.recipe_digest:
        yield "recipe changed"
    old, new = _bases(before.parent, before.bases), _bases(inputs.base, inputs.bases)
    if names := [name for name in new if old.get(name) != new[name]]:
        yield f"base image changed: {', '.join(names)}"
    if shown := listed(changes):
        yield shown
    elif inputs.lock.tarball != before.lock.tarball:
        yield "tarball changed"
    elif inputs.lock.digest != before.lock_digest:
        yield "package lists changed"
    if tools := list(_changed(before.tools, inputs.tools)):
        yield f"tools changed: {', '.join(map(str, tools))}"


def _bases(base: BaseImageBuild | None, bases: Iterable[BaseImageBuild]) -> dict[str, str]:
    return {each.image: each.manifest_digest for each in (*([base] if base else []), *bases)}


def _unseen(inputs: ImageInputs, before: Record) -> str:
    """The reason where all that a record has of its inputs is the same."""
    if inputs.digest == before.input_digest:
        return f"the store has lost a part of build {before.build}"
    return "Baseforge's build revision changed"


def package_changes(old: Lock, new: Lock) -> tuple[PackageChange, ...]:
    """The packages that two locks differ in, by name. One that is only rebuilt has the same version twice."""
    found = (each for each in lock_changes(old, new) if each.kind != "released")
    return tuple(
        PackageChange(name=each.name, old=each.old, new=each.old if each.kind == "rebuilt" else each.new)
        for each in found
    )


def listed(changes: Iterable[PackageChange]) -> str:
    """The first changes in a line, and how many more there are."""
    shown = [str(change) for change in changes]
    more = [f"{len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    return ", ".join([*shown[:SHOWN], *more])


def changes_between(reader: CveReader, before: Record | None, after: Record) -> tuple[PackageChange, ...]:
    """The packages that two builds of an image differ in, with CVE numbers: all packages, also of its base image.

    Of several platforms the machine's own is compared. None for the first build. If the store has lost the list of
    packages of one of the builds, their locks are compared.
    """
    now = after.own
    if before is None or (earlier := before.of(now.platforms[0])) is None:
        return ()
    try:
        old, new = (_versions(reader.store, each) for each in (earlier, now))
        changes = tuple(_changed(old, new))
    except (BlobMissing, BlobDamaged):
        changes = package_changes(earlier.lock, now.lock)
    return reader.add(changes, earlier, now)


def _versions(store: Store, part: Record) -> dict[str, str]:
    """The versions of an image's packages by name. The architecture is left out where the name is there once."""
    [packages] = installed_packages(store, part).values()
    names = [name.partition(":")[0] for name in packages]
    return {
        name if names.count(name) == 1 else full: version
        for (full, version), name in zip(packages.items(), names, strict=True)
    }


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[PackageChange]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield PackageChange(name=name, old=old.get(name, ""), new=new.get(name, ""))
