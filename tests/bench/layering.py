"""Measure the time and stored bytes of ten layers on one base image, against ten whole images of the same packages.

Each of the two sites has a store, a pool and caches of its own, which are empty at first. Prints seconds of whole
commands, bytes of layers in the store, and how much of the whole images' that is; fails when the fleet has more than
one base and its deltas, or costs more than the whole images do. `BENCH_CHILDREN` is how many.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.factory import Factory
from tests.support.services.dockerd import dockerd

PACKAGES = ["less", "nano-tiny", "file", "xz-utils", "procps", "lsof", "jq", "tree", "psmisc", "bc"]
CHILDREN = int(os.environ.get("BENCH_CHILDREN", "10"))
BASE = "kind: debootstrap\nsuite: trixie\nslim: [docs, man, locales]\n"
SMOKE = "include: [%s]\nsmoke:\n  - run: ['true']\n"


class Site:
    """A site of its own; what it has built, and the seconds that took."""

    def __init__(self, folder: Path) -> None:
        self._factory = Factory(folder, {"BASEFORGE_HOME": str(folder / "home"), "BASEFORGE_LOCAL_NAME": folder.name})
        self._layers: dict[str, int] = {}
        folder.mkdir()

    def recipe(self, name: str, text: str) -> str:
        """Another recipe; its name."""
        self._factory.recipe(name, text)
        return name

    def build(self, *names: str) -> float:
        """Build images in one command; wall time in seconds."""
        began = time.monotonic()
        done = self._factory.run("build", *names, "--json")
        took = time.monotonic() - began
        assert done.status == 0, done.stderr
        for record in done.json:
            manifest = self._blob(record["manifest_digest"])
            self._layers |= {layer["digest"]: layer["size"] for layer in json.loads(manifest.read_bytes())["layers"]}
        return took

    @property
    def layers(self) -> list[int]:
        """The bytes of each layer in the store."""
        return [self._blob(digest).stat().st_size for digest in self._layers]

    def stop(self) -> None:
        """End its Prefect server."""
        self._factory.run("stop")

    def _blob(self, digest: str) -> Path:
        return self._factory.folder / "store/blobs" / digest.replace(":", "/")


def layered(site: Site) -> dict[str, tuple[float, int]]:
    """Seconds and bytes of the base, and then of all children."""
    base = site.recipe("base", f"{BASE}smoke:\n  - run: ['true']\n")
    took, size = site.build(base), sum(site.layers)
    children = [site.recipe(f"on-{name}", f"kind: layer\nfrom: base\n{SMOKE % name}") for name in PACKAGES[:CHILDREN]]
    more = site.build(*children)
    assert len(site.layers) == 1 + len(children), "a layer more than one base and the deltas"
    return {"one base": (took, size), f"{len(children)} children": (more, sum(site.layers) - size)}


def whole(site: Site) -> dict[str, tuple[float, int]]:
    """Seconds and bytes of images of the same packages, each on its own."""
    names = [site.recipe(f"all-{name}", f"{BASE}{SMOKE % name}") for name in PACKAGES[:CHILDREN]]
    return {f"{len(names)} whole images": (site.build(*names), sum(site.layers))}


def measured() -> dict[str, tuple[float, int]]:
    """Both sites, on an engine of their own."""
    found: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as place, dockerd() as daemon:
        os.environ["DOCKER_HOST"] = daemon.address
        for work in (layered, whole):
            site = Site(Path(place) / work.__name__)
            try:
                found |= work(site)
            finally:
                site.stop()
    return found


def main() -> int:
    """Print the table; 1 where layers cost more than whole images."""
    found: dict[str, Any] = measured()
    base, children, images = found.values()
    for name, (seconds, size) in found.items():
        sys.stdout.write(f"{name}: {seconds:.1f} s, {size / 1e6:.1f} MB of layers\n")
    ratios = [(one + many) / all_of_them for one, many, all_of_them in zip(base, children, images, strict=True)]
    sys.stdout.write(f"base and children to whole images: {ratios[0]:.2f} of the time, {ratios[1]:.2f} of the bytes\n")
    return int(max(ratios) > 1)


if __name__ == "__main__":
    sys.exit(main())
