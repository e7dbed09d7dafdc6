"""The failure memory of an image: the document `images/NAME/failures.json`.

An image that keeps failing with the same inputs is tried in the next night, then after 2, 4 and 8 nights. Nights are
counted, not days: `nights/newest.json` has their number. A success or a build by hand makes the memory empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from flows.inputs.resolve import ImageInputs, Inputs
from flows.publish import documents
from flows.publish.errors import RecordDamaged
from flows.publish.record import FORMAT, Count, DigestOrEmpty, Format, Frozen
from flows.store.errors import Conflict
from flows.store.store import Store
from rootfs.errors import RecipeInvalid
from rootfs.lock.lock import BUILD_REVISION
from rootfs.system.digests import canonical_digest, canonical_json, sha256_of_bytes
from rootfs.system.source_tree import read_recipe_file
from rootfs.system.text import first_line

WAITS = (1, 2, 4, 8)  # nights from the first, second, … failure to the next try
TRIES = 20  # attempts of a compare-and-swap before Conflict is raised
LONGEST = 300  # characters of a failure's first line


class Failures(Frozen):
    """How often an image failed in a row with the same inputs (see `inputs_key`), since when (UTC), and why.

    `night` is the number of the night in which it was tried last. Nothing is remembered if `times` is 0.
    """

    format: Format = FORMAT
    inputs: DigestOrEmpty = ""
    times: Count = 0
    since: str = ""
    night: Count = 0
    reason: str = ""

    def pause(self, inputs: str, night: int) -> str:
        """Why an image with these inputs is not tried in this night; empty if it is."""
        if not self.times or self.inputs != inputs or self.night > night:
            return ""
        left = self.night + WAITS[min(self.times, len(WAITS)) - 1] - night
        if left <= 0:
            return ""
        when = "in the next night" if left == 1 else f"in {left} nights"
        return f"failed {self.times} times since {self.since} with the same inputs: {self.reason}; next try {when}"


def inputs_key(inputs: ImageInputs) -> str:
    """The digest of what a failure depends on: the input digest, but without the dates of package lists.

    Archives sign their lists anew every few hours, also if no package has changed.
    """
    return canonical_digest([BUILD_REVISION, *(_platform(each) for each in inputs.platforms)])


def _platform(inputs: Inputs) -> dict[str, object]:
    bases = (*([inputs.base] if inputs.base else []), *inputs.bases)
    return {
        "platform": inputs.platform,
        "recipe": inputs.recipe_digest,
        "packages": [[each.name, each.version, each.architecture, each.sha256] for each in inputs.lock.packages],
        "tarball": inputs.lock.tarball,
        "tools": inputs.tools,
        "bases": {each.image: each.manifest_digest for each in bases},
    }


def recipe_key(file: Path | None) -> str:
    """The digest that stands for the inputs where they cannot be computed: that of the recipe's file."""
    data = b""
    with contextlib.suppress(RecipeInvalid, OSError):
        data = read_recipe_file(file) if file else b""
    return f"sha256:{sha256_of_bytes(data)}"


def failures_key(image: str) -> str:
    """The key of an image's document in the store."""
    return f"images/{image}/failures.json"


def read(store: Store, image: str) -> Failures:
    """What is remembered of an image; nothing if the document is damaged or of a newer version."""
    try:
        return documents.read(store, failures_key(image), Failures) or Failures()
    except RecordDamaged:
        return Failures()


def note(store: Store, image: str, inputs: str, night: int, reason: str) -> None:
    """Note that an image failed in a night, and not for a reason that may pass. Raises what the store raises."""
    first = first_line(reason)[:LONGEST]

    def after(before: Failures) -> Failures:
        same = before.inputs == inputs and before.times
        since = before.since if same else f"{datetime.now(UTC):%Y-%m-%d}"
        times = before.times + 1 if same else 1
        return Failures(inputs=inputs, times=times, since=since, night=night, reason=first)

    _change(store, image, after)


def forget(store: Store, image: str) -> None:
    """Make the memory of an image empty. Raises what the store raises."""
    _change(store, image, lambda _: Failures())


def _change(store: Store, image: str, after: Callable[[Failures], Failures]) -> None:
    key = failures_key(image)
    for _ in range(TRIES):
        document = store.read_document(key)
        before = documents.parse_if_valid(store, key, document, Failures) or Failures()
        now = after(before)
        if now == before:  # also where there is nothing to forget
            return
        data = canonical_json(now.model_dump(mode="json")) + b"\n"
        if documents.write(store, key, data, document):
            return
    raise Conflict(store.address, key)
