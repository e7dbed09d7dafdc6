"""Secrets of a build: passed to buildx as files, masked in its output, and searched for in the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.builders.errors import secret_missing
from rootfs.errors import BuildError
from rootfs.process.run import Log

SHORTEST = 8  # bytes: shorter values appear by chance
MASK = "•••"


@dataclass(frozen=True)
class Secrets:
    """The secrets of an image's build: their files and values by id."""

    image: str
    files: Mapping[str, Path] = field(default_factory=dict)
    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def masked(self, text: str) -> str:
        """The text with every line of a secret masked."""
        for value in self.values.values():
            for line in value.decode(errors="replace").splitlines():
                text = text.replace(line, MASK) if len(line) >= SHORTEST else text
        return text

    def log(self, log: Log) -> Log:
        """The log with secrets masked."""
        return lambda line: log(self.masked(line))

    def watched(self, chunks: Iterable[bytes], place: str) -> Iterator[bytes]:
        """Pass the chunks on and search them for secrets, also across chunks.

        Raises BuildError, which names the place.
        """
        longest, before = max(map(len, self.values.values()), default=0), b""
        for chunk in chunks:
            seen = before + chunk if longest else b""
            for name, value in self.values.items():
                if value in seen:
                    raise BuildError(
                        f"{self.image}: the secret {name!r} is in {place}",
                        hint="Use it only in the RUN that mounts it, and write it nowhere. Then replace the secret.",
                    )
            before = seen[-longest:]
            yield chunk


def read_secrets(image: str, ids: Iterable[str], site: Mapping[str, Path]) -> Secrets:
    """Read the secrets that a recipe names from the site's files. Raises MachineError."""
    files = {name: site_file(image, "secrets", name, site) for name in ids}
    return Secrets(image, files, {name: _value(image, name, path) for name, path in files.items()})


def site_file(image: str, setting: str, name: str, site: Mapping[str, Path]) -> Path:
    """The site's file of this name. Raises MachineError."""
    if name not in site:
        raise secret_missing(image, setting, name, "the site names none")
    if not site[name].exists():
        raise secret_missing(image, setting, name, f"there is no {site[name]}")
    return site[name].absolute()


def _value(image: str, name: str, path: Path) -> bytes:
    try:
        value = path.read_bytes().strip()
    except OSError as error:
        raise secret_missing(image, "secrets", name, f"{path} cannot be read: {error.strerror}") from error
    if len(value) < SHORTEST:
        raise secret_missing(image, "secrets", name, f"{path} has fewer than {SHORTEST} bytes, too few to look for")
    return value
