"""Build a Dockerfile with buildx: a folder and base images go in, the image's settings and layers come out.

A builder with a BuildKit of its own writes an OCI layout. The engine's own BuildKit can only load what it makes into
the engine; older ones know no named contexts. There the base images get names of the run's own in the engine, and the
Dockerfile gets a stage for each before its first one.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from flows.builders.buildx_cli import buildx, plain, quoted
from flows.builders.engine import LABEL, Engine
from flows.builders.errors import BuilderFailed, BuildxFailed
from flows.builders.image_import import EngineBuilder, discard, images_of_run, tag
from flows.builders.secrets import Secrets
from flows.image.oci import Image, blob_path
from rootfs.errors import BaseforgeError, BuildError, InputError
from rootfs.process.errors import ProgramFailed
from rootfs.process.run import Log

LONGEST = 3600.0  # seconds that a Dockerfile may take
POLICY = "policy.json"
POLICIES = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"  # the variable with its path (BuildKit's docs/build-repro.md)
# Layers come back as zstd. Times after the epoch become the epoch (from BuildKit 0.13 on).
LAYOUT = "type=oci,tar=false,dest=back,rewrite-timestamp=true,compression=zstd,force-compression=true"

SOLVING = "failed to solve: "
# BuildKit's messages when it is gone or out of space: another builder may do better.
BROKEN = re.compile(r"code = Unavailable|error reading from server|no space left on device|closed network connection")
PLACE = re.compile(r"^[^\s#].*:(\d+)$")
DENIED = re.compile(r'source "(?:docker-image://)?(\S+)" denied by policy')

FIRST = re.compile(r"^\s*FROM\s", re.IGNORECASE | re.MULTILINE)  # only comments and ARG can come before it
BASE_IMAGES = "baseforge-parents"  # cannot be a recipe's name, as a run's id follows it
CHUNK = 1 << 20


@dataclass(frozen=True)
class BuildRequest:
    """What to build: `context` is a folder with the files that count, `dockerfile` a path in it, and `shown` the path
    in messages.

    `base_images` has the images that the Dockerfile refers to, by name. Times in the image are at most `epoch`. Without
    `online` the build has no network; with `without_cache` it uses nothing of earlier builds.
    """

    context: Path
    dockerfile: str
    shown: Path
    platform: str
    epoch: int
    target: str | None
    args: Mapping[str, str]
    base_images: Mapping[str, Image]
    secrets: Secrets
    ssh: Mapping[str, Path | None]
    online: bool
    without_cache: bool

    def words(self) -> list[str]:
        """The options of `buildx build`, except base images and output."""
        words = plain(self.platform)
        args = {**self.args, "SOURCE_DATE_EPOCH": str(self.epoch)}
        words += [word for key, value in args.items() for word in ("--build-arg", f"{key}={value}")]
        for name, path in self.secrets.files.items():
            words += ["--secret", quoted(f"id={name}", f"src={path}")]
        for name, place in self.ssh.items():
            words += ["--ssh", f"{name}={place}" if place else name]
        words += ["--target", self.target] if self.target else []
        words += ["--pull"] if self.online else ["--network=none"]
        return words + (["--no-cache"] if self.without_cache or self.online else [])


@dataclass(frozen=True)
class BuildResult:
    """The result: the image's config, and its layers as files of any compression, the lowest first."""

    config: dict[str, Any]
    layers: tuple[Path, ...]


def build_with_builder(order: BuildRequest, name: str, driver: str, folder: Path, log: Log) -> BuildResult:
    """Build with a builder that has a BuildKit of its own. `folder` is empty.

    Raises BuildError, InputError, BuilderFailed and BuildxTooOld.
    """
    bases: list[str] = []
    for number, (known_as, image) in enumerate(order.base_images.items()):  # buildx splits options at commas and colons
        (folder / f"base-{number}").symlink_to(image.layout.resolve())
        bases += ["--build-context", f"{known_as}=oci-layout://base-{number}:{image.name}"]
    words = ["build", "--builder", name, *order.words(), *bases, "--output", LAYOUT]
    call_buildx(order, [*words, "--file", str(order.context / order.dockerfile)], (name, driver), folder, log)
    back = folder / "back"
    [listed] = json.loads((back / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob_path(back, listed["digest"]).read_bytes())
    config = json.loads(blob_path(back, manifest["config"]["digest"]).read_bytes())
    return BuildResult(config, tuple(blob_path(back, each["digest"]) for each in manifest["layers"] or ()))


def call_buildx(
    order: BuildRequest,
    words: Sequence[str],
    builder: tuple[str, str],
    folder: Path,
    log: Log,
    allowed: Sequence[str] = (),
) -> None:
    """Call buildx. `allowed` are images that it may use without network.

    Errors are the Dockerfile's (BuildError, InputError) or the builder's (BuilderFailed).
    """
    (folder / POLICY).write_text(json.dumps(_policy(allowed)))
    more = {} if order.online else {POLICIES: str(folder / POLICY)}
    masked = order.secrets.log(log)
    try:
        buildx(*words, str(order.context), wait=LONGEST, cwd=folder, log=masked, more=more)
    except BuildxFailed as error:
        printed = error.__cause__.output if isinstance(error.__cause__, ProgramFailed) else ""
        raise _explained(order, order.secrets.masked(error.message), order.secrets.masked(printed), builder) from None


def _policy(allowed: Sequence[str]) -> dict[str, Any]:
    """BuildKit's source policy (sourcepolicy/pb/policy.proto) for a build without network. The last match counts."""
    rules = [("DENY", "*"), *(("ALLOW", each) for each in ("local://*", "oci-layout://*", *allowed))]
    return {"version": 1, "rules": [{"action": word, "selector": {"identifier": each}} for word, each in rules]}


def _explained(order: BuildRequest, reason: str, printed: str, builder: tuple[str, str]) -> BaseforgeError:
    if SOLVING not in reason or BROKEN.search(reason):
        return BuilderFailed(*builder, "building", reason)
    line, excerpt = _place(printed)
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


def _place(output: str) -> tuple[str, str]:
    """The Dockerfile's line in BuildKit's error, and the excerpt with the failing command's output."""
    lines = output.splitlines()
    found = next((match[1] for line in reversed(lines) if (match := PLACE.match(line))), "")
    start = next((at for at, line in enumerate(lines) if line == "------" or PLACE.match(line)), len(lines))
    excerpt = (line for line in lines[start:] if line.strip("-") and not line.startswith("ERROR: "))
    return found, "\n".join(line for line in excerpt if not PLACE.match(line))


def build_in_engine(order: BuildRequest, name: str, engine: Engine, run_id: str, folder: Path, log: Log) -> BuildResult:
    """Build with the engine's own BuildKit, and leave only its cache in the engine. `folder` is empty.

    Raises BuildError, InputError, BuilderFailed, MachineError and EngineRefused.
    """
    note = folder / "id"
    with _named(order, engine, run_id) as names:
        file = _with_stages(order.context / order.dockerfile, names, folder)
        to = ["--load", "--iidfile", str(note), "--label", f"{LABEL}={run_id}", "--file", str(file)]
        allowed = [f"docker-image://*/{each}*" for each in names.values()]
        words = [word for word in order.words() if not (names and word == "--pull")]  # no registry has the base images
        try:
            call_buildx(order, ["build", "--builder", name, *words, *to], (name, "docker"), folder, log, allowed)
            return _saved(engine, note.read_text(), folder / "saved")
        finally:
            discard(engine, images_of_run(engine, run_id))


@contextlib.contextmanager
def _named(order: BuildRequest, engine: Engine, run_id: str) -> Iterator[dict[str, str]]:
    """The base images in the engine for the block: their names there, by their names in the Dockerfile."""
    names = {each: f"{BASE_IMAGES}/{run_id}:{number}" for number, each in enumerate(order.base_images)}
    ids = []
    try:
        for known_as, image in order.base_images.items():
            ids.append(image_id := EngineBuilder(engine).import_image(image))
            tag(engine, image_id, names[known_as])
        yield names
    finally:
        forget(engine, run_id)
        discard(engine, ids)


def forget(engine: Engine, run_id: str) -> None:
    """Remove the names that a run has given to base images."""
    with engine.during("taking names away"):
        for image in engine.client.api.images(filters={"reference": f"{BASE_IMAGES}/{run_id}"}):
            for name in image["RepoTags"] or []:
                if name.startswith(f"{BASE_IMAGES}/{run_id}:"):
                    engine.client.api.remove_image(name, noprune=True)


def _with_stages(file: Path, names: dict[str, str], folder: Path) -> Path:
    """The Dockerfile with a stage for each base image before its first one, and its .dockerignore."""
    if not names:
        return file
    text, ignored = file.read_text(), file.with_name(f"{file.name}.dockerignore")
    stages = "".join(f"FROM {image} AS {stage}\n" for stage, image in names.items())
    copy = folder / file.name
    copy.write_text(FIRST.sub(lambda first: stages + first[0], text, count=1))
    if ignored.is_file():
        shutil.copyfile(ignored, copy.with_name(ignored.name))
    return copy


def _saved(engine: Engine, image_id: str, folder: Path) -> BuildResult:
    """Save the image from the engine, as `docker save` does. A layer that occurs twice may be a link there."""
    folder.mkdir()
    files: dict[str, Path] = {}
    with engine.during(f"saving {image_id}"):
        stream = cast(IO[bytes], _ChunkStream(engine.client.api.get_image(image_id)))
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive):
                if content := archive.extractfile(member) if member.isreg() else None:
                    files[member.name] = path = folder / str(number)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file, CHUNK)
                elif member.issym():
                    files[member.name] = files[posixpath.normpath(f"{member.name}/../{member.linkname}")]
    [listed] = json.loads(files["manifest.json"].read_bytes())
    config = json.loads(files[listed["Config"]].read_bytes())
    del config["config"]["Labels"][LABEL]
    return BuildResult(config, tuple(files[layer] for layer in listed["Layers"] or ()))


class _ChunkStream:
    """A stream over chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = iter(chunks), b""

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end."""
        while len(self._left) < size and (chunk := next(self._chunks, b"")):
            self._left += chunk
        data, self._left = self._left[:size], self._left[size:]
        return data
