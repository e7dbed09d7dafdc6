"""A Dockerfile through a builder of buildx: in go a folder and parents, out come an image's settings and its layers.

Drivers that run a BuildKit of their own write an OCI layout. The engine's own BuildKit cannot: see loaded.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.builders.buildx_cli import buildx, plain, quoted
from flows.builders.errors import BuilderFailed, BuildxFailed
from flows.builders.secrets import Secrets
from flows.image.oci import Image, blob_path
from rootfs.errors import BaseforgeError, BuildError, InputError, ProgramFailed
from rootfs.process.run import Log

LONGEST = 3600.0  # seconds a Dockerfile may take
POLICY = "policy.json"
POLICIES = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"  # where buildx looks for one (BuildKit's docs/build-repro.md)
# All zstd, whatever it was: one way to read it. Times after the epoch become the epoch, from BuildKit 0.13 on.
LAYOUT = "type=oci,tar=false,dest=back,rewrite-timestamp=true,compression=zstd,force-compression=true"

SOLVING = "failed to solve: "
# What BuildKit says when it is gone or out of room: a fresh one may do better.
BROKEN = re.compile(r"code = Unavailable|error reading from server|no space left on device|closed network connection")
PLACE = re.compile(r"^[^\s#].*:(\d+)$")
DENIED = re.compile(r'source "(?:docker-image://)?(\S+)" denied by policy')


@dataclass(frozen=True)
class Order:
    """What is to be built: `context` is a folder with just what counts, `dockerfile` a path in it, and `shown` where a
    person has that.

    `parents` are the images that the Dockerfile has names for. Times in the image are at most `epoch`. An order that is
    not `online` gets no network; one that is `afresh` nothing of an earlier build.
    """

    context: Path
    dockerfile: str
    shown: Path
    platform: str
    epoch: int
    target: str | None
    args: Mapping[str, str]
    parents: Mapping[str, Image]
    secrets: Secrets
    ssh: Mapping[str, Path | None]
    online: bool
    afresh: bool

    def words(self) -> list[str]:
        """Words for `buildx build` that say all but what comes in besides the context, and where it goes."""
        words = plain(self.platform)
        args = {**self.args, "SOURCE_DATE_EPOCH": str(self.epoch)}
        words += [word for key, value in args.items() for word in ("--build-arg", f"{key}={value}")]
        for name, path in self.secrets.files.items():
            words += ["--secret", quoted(f"id={name}", f"src={path}")]
        for name, place in self.ssh.items():
            words += ["--ssh", f"{name}={place}" if place else name]
        words += ["--target", self.target] if self.target else []
        words += ["--pull"] if self.online else ["--network=none"]
        return words + (["--no-cache"] if self.afresh or self.online else [])


@dataclass(frozen=True)
class Built:
    """What came back: the image's configuration, and its layers, the lowest first, as files of whatever compression."""

    config: dict[str, Any]
    layers: tuple[Path, ...]


def build(order: Order, name: str, driver: str, folder: Path, log: Log) -> Built:
    """Build through a builder with a BuildKit of its own, in an empty `folder`.

    Raises BuildError, InputError, BuilderFailed and BuildxTooOld.
    """
    parents: list[str] = []
    for number, (known_as, image) in enumerate(order.parents.items()):  # buildx splits options at commas and colons
        (folder / f"parent-{number}").symlink_to(image.layout.resolve())
        parents += ["--build-context", f"{known_as}=oci-layout://parent-{number}:{image.name}"]
    words = ["build", "--builder", name, *order.words(), *parents, "--output", LAYOUT]
    call(order, [*words, "--file", str(order.context / order.dockerfile)], (name, driver), folder, log)
    back = folder / "back"
    [listed] = json.loads((back / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob_path(back, listed["digest"]).read_bytes())
    config = json.loads(blob_path(back, manifest["config"]["digest"]).read_bytes())
    return Built(config, tuple(blob_path(back, each["digest"]) for each in manifest["layers"] or ()))


def call(
    order: Order, words: Sequence[str], builder: tuple[str, str], folder: Path, log: Log, allowed: Sequence[str] = ()
) -> None:
    """Call buildx for an order; `allowed` are images that it may take although it is not online.

    What goes wrong is either the Dockerfile's fault (BuildError, InputError) or the builder's
    (BuilderFailed).
    """
    (folder / POLICY).write_text(json.dumps(_policy(allowed)))
    more = {} if order.online else {POLICIES: str(folder / POLICY)}
    masked = order.secrets.log(log)
    try:
        buildx(*words, str(order.context), wait=LONGEST, cwd=folder, log=masked, more=more)
    except BuildxFailed as error:
        said = error.__cause__.output if isinstance(error.__cause__, ProgramFailed) else ""
        raise _explained(order, order.secrets.masked(error.message), order.secrets.masked(said), builder) from None


def _policy(allowed: Sequence[str]) -> dict[str, Any]:
    """BuildKit's source policy (sourcepolicy/pb/policy.proto) for a build without network; the last match counts."""
    rules = [("DENY", "*"), *(("ALLOW", each) for each in ("local://*", "oci-layout://*", *allowed))]
    return {"version": 1, "rules": [{"action": word, "selector": {"identifier": each}} for word, each in rules]}


def _explained(order: Order, reason: str, said: str, builder: tuple[str, str]) -> BaseforgeError:
    if SOLVING not in reason or BROKEN.search(reason):
        return BuilderFailed(*builder, "building", reason)
    line, excerpt = _place(said)
    where = f"{order.shown}:{line}:1" if line else str(order.shown)
    if denied := DENIED.search(reason):
        return InputError(
            f"{denied[1]} would be fetched, and this build has no network",
            where=where,
            output=excerpt,
            hint="Name a recipe in `contexts`, or keep the file in the recipe's folder; else say `network: default`.",
        )
    return BuildError(
        reason.rpartition(SOLVING)[2],
        where=where,
        output=excerpt,
        hint="The build's log has all that the builder printed.",
    )


def _place(said: str) -> tuple[str, str]:
    """The line of the Dockerfile that BuildKit blames, and its excerpt, with what the failing command printed."""
    lines = said.splitlines()
    found = next((match[1] for line in reversed(lines) if (match := PLACE.match(line))), "")
    start = next((at for at, line in enumerate(lines) if line == "------" or PLACE.match(line)), len(lines))
    told = (line for line in lines[start:] if line.strip("-") and not line.startswith("ERROR: "))
    return found, "\n".join(line for line in told if not PLACE.match(line))
