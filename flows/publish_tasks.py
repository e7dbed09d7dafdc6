"""The last steps of a build: what was made for each platform becomes one image, and only then visible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.description import describe_all
from flows.image.index import Index, join
from flows.image.oci import Image
from flows.inputs.resolve import Meant
from flows.inputs.tree import empty_folder
from flows.orchestration.step import step
from flows.platform_build import Part
from flows.publish import records, registry, sources_bundle
from flows.publish.record import Record
from flows.published_names import point, registry_of, told
from flows.runtime.context import current, current_run
from rootfs.recipe.base_images import lineage
from rootfs.system.digests import canonical_json


def united(wanted: Meant, parts: Sequence[Part], place: Path) -> tuple[Image | Index, Record]:
    """The image as it is published, and its record: the only part's, or an index over them all."""
    if len(parts) == 1:
        return parts[0].image, parts[0].record
    made = joined(parts, place / "index")
    return made, describe_all(wanted, made, [part.record for part in parts])


@step("join {parts[0].image.name}")
def joined(parts: Sequence[Part], folder: Path) -> Index:
    """One image for all platforms."""
    made = join([part.image for part in parts], empty_folder(folder))
    current().progress.note(made.manifest_digest)
    return made


@step("publish {made.name}", network=True)
def publish(made: Image | Index, parts: Sequence[Part]) -> str:
    """Blobs to the store, and the image to the registry by its digest alone; returns what was pushed.

    No name moves before there is a record, and nothing but a record says that a build is there.
    """
    here = current()
    for part in parts:
        records.keep_blobs(here.store, part.image)
    if isinstance(made, Index):
        records.keep_index(here.store, made)
    where = registry_of(here)
    return registry.push(made, where, log=current_run().log) if where else ""


@step("record {done.image}", network=True)
def record(done: Record, parts: Sequence[Part], pushed: str) -> Record:
    """The record, and then what `latest` means in the store: with that the build is published.

    The names in the registry and in the engine follow; see `flows.published_names`.
    """
    store, run, wanted = current().store, current_run(), parts[0].wanted
    made_of = sources_bundle.keep(store, *lineage(wanted.file), but=wanted.archive)
    inventories = [records.keep_bytes(store, canonical_json(part.packed.packages)) for part in parts]
    kept = {
        "number": records.next_number(store, done.image),
        "registry": pushed,
        "inventory": inventories[0] if len(parts) == 1 else "",
        "ingredients": made_of,
        "log": records.keep_log(store, run.log_file),
        "seconds": dict(run.timeline.seconds),
        "parts": tuple(
            part.model_copy(update={"inventory": inventory, "ingredients": made_of})
            for part, inventory in zip(done.parts, inventories if done.parts else (), strict=True)
        ),
    }
    return records.publish(store, done.model_copy(update=kept), "a new build")


def published(made: Image | Index, done: Record, parts: Sequence[Part]) -> Record:
    """Publish a build: what it consists of, its record, and then its names, so that none points to what is not there.

    Raises an error that says so where the build is published, and not all names could follow.
    """
    kept = record(done, parts, publish(made, parts))
    with told(kept):
        point(kept)
    return kept
