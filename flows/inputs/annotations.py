"""The annotations of an image's manifest: what registries and their tools show of it (OCI image-spec, annotations.md).

They follow from the inputs alone, as the manifest's digest does: nothing here depends on the site or on the clock.
"""

from __future__ import annotations

from datetime import UTC, datetime

from flows.image.index import CREATED
from flows.inputs.resolve import Inputs
from flows.publish.record import BaseImageBuild

PREFIX = "org.opencontainers.image."


def annotations_of(inputs: Inputs, epoch: int, base: BaseImageBuild | None = None) -> dict[str, str]:
    """The annotations of an image that was created at `epoch`, in seconds since 1970.

    It begins with the layers of `base`, if it has a base image that a recipe describes. Labels of the recipe with
    the same names come first: a recipe says there where its source is, or its licenses.
    """
    found = {CREATED: _time(epoch, "%Y-%m-%dT%H:%M:%SZ"), f"{PREFIX}title": inputs.recipe.name}
    if inputs.lock.releases:
        found[f"{PREFIX}version"] = _time(inputs.lock.epoch, "%Y%m%dT%H%M%SZ")
    if base:
        found |= {f"{PREFIX}base.name": base.image, f"{PREFIX}base.digest": base.manifest_digest}
    labels = inputs.recipe.container_settings.labels
    return found | {name: value for name, value in labels.items() if name.startswith(PREFIX)}


def _time(epoch: int, form: str) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime(form)
