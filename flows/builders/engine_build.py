"""A Dockerfile through the BuildKit inside an engine, which can only load what it makes into the engine itself.

Parents are images of the engine by names of the run's own there; a stage of each, before the Dockerfile's first one,
has the name that the Dockerfile knows it by, as older engines know no named contexts.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from flows.builders.docker import Docker
from flows.builders.dockerfile import Built, Order, call
from flows.builders.engine import LABEL, Engine
from flows.builders.image_import import discard, of_run, tag
from rootfs.process.run import Log

FIRST = re.compile(r"^\s*FROM\s", re.IGNORECASE | re.MULTILINE)  # only comments and ARG may come before it
PARENTS = "baseforge-parents"  # no name of a recipe, as it has a run's id behind it
PIECE = 1 << 20


def build(order: Order, name: str, engine: Engine, run_id: str, folder: Path, log: Log) -> Built:
    """Build in the engine, in an empty `folder`, and leave nothing there but its cache.

    Raises BuildError, InputError, BuilderFailed, EngineLost and EngineRefused.
    """
    note = folder / "id"
    with _named(order, engine, run_id) as names:
        file = _with_stages(order.context / order.dockerfile, names, folder)
        to = ["--load", "--iidfile", str(note), "--label", f"{LABEL}={run_id}", "--file", str(file)]
        allowed = [f"docker-image://*/{each}*" for each in names.values()]
        words = [word for word in order.words() if not (names and word == "--pull")]  # no registry has the parents
        try:
            call(order, ["build", "--builder", name, *words, *to], (name, "docker"), folder, log, allowed)
            return _saved(engine, note.read_text(), folder / "saved")
        finally:
            discard(engine, of_run(engine, run_id))


@contextlib.contextmanager
def _named(order: Order, engine: Engine, run_id: str) -> Iterator[dict[str, str]]:
    """The parents in the engine for the block: the name that each has there, by the one that the Dockerfile has."""
    names = {each: f"{PARENTS}/{run_id}:{number}" for number, each in enumerate(order.parents)}
    ids = []
    try:
        for known_as, image in order.parents.items():
            ids.append(image_id := Docker(engine).import_image(image))
            tag(engine, image_id, names[known_as])
        yield names
    finally:
        forget(engine, run_id)
        discard(engine, ids)


def forget(engine: Engine, run_id: str) -> None:
    """Take away the names that a run has given to parents."""
    with engine.during("taking names away"):
        for image in engine.client.api.images(filters={"reference": f"{PARENTS}/{run_id}"}):
            for name in image["RepoTags"] or []:
                if name.startswith(f"{PARENTS}/{run_id}:"):
                    engine.client.api.remove_image(name, noprune=True)


def _with_stages(file: Path, names: dict[str, str], folder: Path) -> Path:
    """The Dockerfile with a stage for each parent before its own first one, beside what is ignored for it."""
    if not names:
        return file
    text, ignored = file.read_text(), file.with_name(f"{file.name}.dockerignore")
    stages = "".join(f"FROM {image} AS {stage}\n" for stage, image in names.items())
    copy = folder / file.name
    copy.write_text(FIRST.sub(lambda first: stages + first[0], text, count=1))
    if ignored.is_file():
        shutil.copyfile(ignored, copy.with_name(ignored.name))
    return copy


def _saved(engine: Engine, image_id: str, folder: Path) -> Built:
    """The image out of the engine, as `docker save` has it: a layer that comes twice may be a link there."""
    folder.mkdir()
    files: dict[str, Path] = {}
    with engine.during(f"saving {image_id}"):
        stream = cast(IO[bytes], _Pieces(engine.client.api.get_image(image_id)))
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive):
                if content := archive.extractfile(member) if member.isreg() else None:
                    files[member.name] = path = folder / str(number)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file, PIECE)
                elif member.issym():
                    files[member.name] = files[posixpath.normpath(f"{member.name}/../{member.linkname}")]
    [listed] = json.loads(files["manifest.json"].read_bytes())
    config = json.loads(files[listed["Config"]].read_bytes())
    del config["config"]["Labels"][LABEL]
    return Built(config, tuple(files[layer] for layer in listed["Layers"] or ()))


class _Pieces:
    """What comes in pieces, as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = iter(pieces), b""

    def read(self, size: int) -> bytes:
        """The next bytes, as many as are asked for unless it ends."""
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        data, self._left = self._left[:size], self._left[size:]
        return data
