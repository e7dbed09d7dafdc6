"""What the shelf's newest builds measure: `python -m flows.cli.shelf_figures > recipes/figures.json`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from flows.config.settings import Settings, load
from flows.publish import stored_builds
from flows.publish.errors import no_image
from flows.runtime.context import store_of
from rootfs.recipe.recipe import read_recipes


def figures(settings: Settings) -> dict[str, dict[str, object]]:
    """Packages, compressed bytes, and the date of the archive's state, by image.

    Raises InputError for a recipe that was not built.
    """
    store, found = store_of(settings), {}
    for recipe in read_recipes(*settings.recipes):
        record = stored_builds.latest_readable(store, recipe.name)
        if record is None:
            raise no_image(recipe.name, f"Build it: ./baseforge build {recipe.name}")
        date = f"{datetime.fromtimestamp(record.own.lock.epoch, UTC):%Y-%m-%d}" if record.own.lock.releases else ""
        found[recipe.name] = {"packages": record.packages, "size": record.own.size, "date": date}
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(figures(load()), indent=2) + "\n")
