"""A Dockerfile through a builder of buildx: in go a folder and parents, out come an image's settings and its layers.

Drivers that run a BuildKit of their own write an OCI layout. The engine's own cannot: it loads the image into the
engine, which is then asked for it, and knows parents only by names that they have there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.builders.command import buildx, quoted
from flows.builders.secrets import Secrets
from flows.image.oci import blob_path
from rootfs.errors import BuilderFailed, BuildxFailed, DockerfileFailed, DockerfileOffline, ProgramFailed
from rootfs.run import Log

LONGEST = 3600.0  # seconds a Dockerfile may take
POLICY = "policy.json"
POLICIES = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"  # where buildx looks for one (BuildKit's docs/build-repro.md)

SOLVING = "failed to solve: "
# BuildKit's words for itself being gone, or out of room: another builder may do better.
BROKEN = re.compile(r"code = Unavailable|error reading from server|no space left on device|use of closed network")
PLACE = re.compile(r"^\S.*:(\d+)$")
DENIED = re.compile(r'source "(?:docker-image://)?(\S+)" denied by policy')


@dataclass(frozen=True)
class Order:
    """What is to be built: `context` is a folder with just what counts, `shown` the Dockerfile as a person knows it.

    `parents` are OCI layouts by the name that the Dockerfile has for them, `tags` the names of the images in there. An
    order that is not `online` gets no network, one that is `afresh` nothing of an earlier build.
    """

    image: str
    context: Path
    dockerfile: str
    shown: Path
    platform: str
    epoch: int
    target: str | None
    args: Mapping[str, str]
    parents: Mapping[str, Path]
    tags: Mapping[str, str]
    secret_files: Mapping[str, Path]
    ssh: Mapping[str, Path | None]
    secrets: Secrets
    online: bool
    afresh: bool

    def words(self) -> list[str]:
        """Words for `buildx build` that say all but where it comes from and goes to."""
        plain = ["--provenance=false", "--sbom=false", "--progress=plain", f"--platform={self.platform}"]
        args = {**self.args, "SOURCE_DATE_EPOCH": str(self.epoch)}
        plain += [word for key, value in args.items() for word in ("--build-arg", f"{key}={value}")]
        for name, path in self.secret_files.items():
            plain += ["--secret", quoted(f"id={name}", f"src={path.absolute()}")]
        for name, place in self.ssh.items():
            plain += ["--ssh", quoted(f"{name}={place.absolute()}" if place else name)]
        plain += ["--target", self.target] if self.target else []
        plain += ["--pull"] if self.online else ["--network=none"]
        return plain + (["--no-cache"] if self.afresh or self.online else [])


@dataclass(frozen=True)
class Built:
    """What came back: the image's configuration, and its layers, the lowest first, as files of whatever compression."""

    config: dict[str, Any]
    layers: tuple[Path, ...]


def build(order: Order, name: str, driver: str, folder: Path, log: Log) -> Built:
    """Build through a builder with a BuildKit of its own, in an empty `folder`.

    Raises DockerfileFailed, DockerfileOffline, BuilderFailed and BuildxTooOld.
    """
    parents: list[str] = []
    for number, (known_as, layout) in enumerate(order.parents.items()):  # names: buildx splits options at commas, colons
        (folder / f"parent-{number}").symlink_to(layout.resolve())
        parents += ["--build-context", f"{known_as}=oci-layout://parent-{number}:{order.tags[known_as]}"]
    output = "type=oci,tar=false,dest=back,rewrite-timestamp=true,compression=zstd,force-compression=true"
    words = ["build", "--builder", name, *order.words(), *parents, "--output", output]
    called(order, words, name, driver, folder, log)
    back = folder / "back"
    [listed] = json.loads((back / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob_path(back, listed["digest"]).read_bytes())
    config = json.loads(blob_path(back, manifest["config"]["digest"]).read_bytes())
    return Built(config, tuple(blob_path(back, each["digest"]) for each in manifest["layers"]))


def called(order: Order, words: list[str], name: str, driver: str, folder: Path, log: Log) -> None:
    """Call buildx for an order; what goes wrong is the Dockerfile's fault, or the builder's."""
    (folder / POLICY).write_text(json.dumps(_policy(order)))
    file = ["--file", str(order.context / order.dockerfile), str(order.context)]
    more = {} if order.online else {POLICIES: str(folder / POLICY)}
    try:
        buildx(*words, *file, wait=LONGEST, cwd=folder, log=order.secrets.log(log), more=more)
    except BuildxFailed as error:
        raise _explained(order, error, name, driver) from None


def _policy(order: Order) -> dict[str, Any]:
    """BuildKit's source policy (sourcepolicy/pb/policy.proto) for a build without network; the last match counts."""
    ours = ("local://*", "oci-layout://*", *(f"docker-image://*{tag}*" for tag in order.tags.values()))
    allowed = [{"action": "ALLOW", "selector": {"identifier": each}} for each in ours]
    return {"version": 1, "rules": [{"action": "DENY", "selector": {"identifier": "*"}}, *allowed]}


def _explained(
    order: Order, error: BuildxFailed, name: str, driver: str
) -> DockerfileFailed | DockerfileOffline | BuilderFailed:
    said = error.__cause__.output if isinstance(error.__cause__, ProgramFailed) else ""
    reason = order.secrets.masked(error.what)
    if SOLVING not in reason or BROKEN.search(reason):
        return BuilderFailed(name, driver, "building", reason)
    where, excerpt = _place(order.secrets.masked(said))
    place = f"{order.shown}:{where}:1" if where else str(order.shown)
    if denied := DENIED.search(reason):
        return DockerfileOffline(place, denied[1], excerpt)
    return DockerfileFailed(place, reason.rpartition(SOLVING)[2], excerpt)


def _place(said: str) -> tuple[str, str]:
    """The line of the Dockerfile that BuildKit blames, and its excerpt, with what the failing command printed."""
    lines = said.splitlines()
    found = next((match[1] for line in reversed(lines) if (match := PLACE.match(line))), "")
    start = next((at for at, line in enumerate(lines) if line == "------" or PLACE.match(line)), len(lines))
    shown = [line for line in lines[start:] if line.strip("-") and not line.startswith("ERROR: ") and not PLACE.match(line)]
    return found, "\n".join(shown)
