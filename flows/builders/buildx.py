"""An image through a builder of buildx: in as a named context, out as a layout whose digest must be the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.builders.buildx_cli import buildx, plain
from flows.builders.docker import Docker
from flows.builders.engine import Engine
from flows.builders.errors import BuilderFailed, BuildxFailed, image_changed
from flows.image.oci import Image, blob_path
from rootfs.process.run import Log
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import platform_name

DOCKERFILE = "FROM base\n"

THROUGH = 900.0  # seconds for an image to go in and come back


@dataclass(frozen=True)
class Buildx:
    """A builder that `docker buildx ls` shows; `engine` is given the image that came back from it.

    `log` sees what buildx and the builder print.
    """

    engine: Engine
    name: str
    driver: str
    log: Log

    def import_image(self, image: Image) -> str:
        """Send the layout through a Dockerfile that adds nothing, compare what comes back, and load that.

        Raises BuilderFailed, BuildError, and what the driver `docker` raises.
        """
        with TemporaryDirectory(prefix="through-", dir=image.layout.parent) as folder:
            return Docker(self.engine).import_image(self._through(image, Path(folder)))

    def _through(self, image: Image, folder: Path) -> Image:
        """The image as it came back. Names are relative to `folder`: buildx splits its options at commas and colons."""
        (folder / "layout").symlink_to(image.layout.resolve())
        (folder / "context").mkdir()
        (folder / "context/Dockerfile").write_text(DOCKERFILE)
        base = ["--build-context", f"base=oci-layout://layout:{image.name}"]
        output = ["--output", "type=oci,tar=false,dest=back"]
        try:
            usual = plain(platform_name(image.architecture))
            words = ["build", "--builder", self.name, *base, *usual, *output, "context"]
            buildx(*words, wait=THROUGH, cwd=folder, log=self.log)
        except BuildxFailed as error:
            raise BuilderFailed(self.name, self.driver, "importing", error.message) from error
        back = folder / "back"
        if (found := _digests(back)) != image.manifest_digest:
            raise image_changed(self.name, image.manifest_digest, found)
        below = tuple(replace(layer, path=blob_path(back, layer.digest)) for layer in image.below)
        own = replace(image.layer, path=blob_path(back, image.layer.digest))
        return replace(image, layout=back, layer=own, below=below)


def _digests(layout: Path) -> str:
    """What a layout holds, by its manifests' own bytes; only one that is as it was sent has just one digest, ours."""
    listed = json.loads((layout / "index.json").read_bytes())["manifests"]
    return ", ".join(digest_of_bytes(blob_path(layout, each["digest"]).read_bytes()) for each in listed)
