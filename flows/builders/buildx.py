"""What buildx's drivers have in common: how a builder comes and goes, and how an image is sent through it.

The `buildx` command is called itself, through rootfs/run.py: each call then has an end, prints to the build's log and
leaves no process behind.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.builders.docker import Docker
from flows.builders.engine import Engine
from flows.image.oci import Image, blob_path, digest_of, platform_of
from rootfs.errors import BuilderFailed, BuildxMissing, DigestMismatch, Problem, ProgramFailed, ProgramTimedOut
from rootfs.run import Log, run

DOCKERFILE = "FROM base\n"

QUICK = 60.0  # seconds for what only reads and writes buildx's own files, or removes what an engine has
START = 300.0  # seconds until a builder must be up; its image may have to be pulled
THROUGH = 900.0  # seconds for an image to go in and come back

# What says which engine the docker command speaks to, and where buildx keeps its builders.
CHOICES = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"),
    *("BUILDX_CONFIG", "SSH_AUTH_SOCK"),
)


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

        Raises BuilderFailed, DigestMismatch, and what the driver `docker` raises.
        """
        with TemporaryDirectory(prefix="through-", dir=image.layout.parent) as folder:
            return Docker(self.engine).import_image(self._through(image, Path(folder)))

    def _through(self, image: Image, folder: Path) -> Image:
        """The image as it came back. Names are relative to `folder`: buildx splits its options at commas and colons."""
        (folder / "layout").symlink_to(image.layout.resolve())
        (folder / "context").mkdir()
        (folder / "context/Dockerfile").write_text(DOCKERFILE)
        base = ["--build-context", f"base=oci-layout://layout:{image.name}"]
        plain = ["--provenance=false", "--sbom=false", "--progress=plain", f"--platform={_platform(image)}"]
        output = ["--output", "type=oci,tar=false,dest=back"]
        self.call(
            "importing", "build", "--builder", self.name, *base, *plain, *output, "context", wait=THROUGH, cwd=folder
        )
        back = folder / "back"
        if (found := _digests(back)) != image.manifest_digest:
            raise DigestMismatch(self.name, image.manifest_digest, found)
        return replace(image, layout=back, layer=replace(image.layer, path=blob_path(back, image.layer.digest)))

    def call(self, doing: str, *words: str, wait: float, cwd: Path | None = None) -> None:
        """Call buildx. Raises BuilderFailed, also when it has not ended after `wait` seconds."""
        try:
            run(["docker", "buildx", *words], env=_environment(), cwd=cwd, timeout=wait, log=self.log)
        except ProgramFailed as error:
            reasons = [line.removeprefix("ERROR: ") for line in error.output.splitlines() if line.startswith("ERROR: ")]
            raise BuilderFailed(self.name, self.driver, doing, reasons[-1] if reasons else error.output) from error
        except ProgramTimedOut as error:
            raise BuilderFailed(self.name, self.driver, doing, f"it took more than {wait:g} s") from error


@contextlib.contextmanager
def created(builder: Buildx, *words: str) -> Iterator[Buildx]:
    """Create and start the builder; when the block ends, however it does, it is removed with all it kept.

    `words` are what its driver needs of `buildx create`. Raises BuildxMissing and BuilderFailed.
    """
    if run(["docker", "buildx", "version"], env=_environment(), check=False, timeout=QUICK).status:
        raise BuildxMissing
    try:
        builder.call("creating", "create", "--name", builder.name, "--driver", builder.driver, *words, wait=QUICK)
        builder.call("starting", "inspect", "--bootstrap", builder.name, wait=START)
        yield builder
    finally:
        with contextlib.suppress(Problem):  # it never came to be, or its engine is gone and buildx has forgotten it
            builder.call("removing", "rm", "--force", builder.name, wait=QUICK)


def name_of(run_id: str) -> str:
    """What the builder of a run is called: buildx has no labels, so the name is what it is found by."""
    return f"baseforge-{run_id}"


def driver_options(options: Mapping[str, str]) -> list[str]:
    """Words for `buildx create`, which reads each option as a line of CSV."""
    return [word for key, value in options.items() for word in ("--driver-opt", _quoted(f"{key}={value}"))]


def _quoted(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in CHOICES if name in os.environ}


def _platform(image: Image) -> str:
    platform = platform_of(image.architecture)
    return "/".join(platform[key] for key in ("os", "architecture", "variant") if key in platform)


def _digests(layout: Path) -> str:
    """What a layout holds, by its manifests' own bytes; only one that is as it was sent has just one digest, ours."""
    listed = json.loads((layout / "index.json").read_bytes())["manifests"]
    return ", ".join(digest_of(blob_path(layout, each["digest"]).read_bytes()) for each in listed)
