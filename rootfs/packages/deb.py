"""A deb as a file: an ar archive of a version, a control tar and a data tar (deb(5))."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rootfs.packages.errors import BadDeb
from rootfs.system import compression
from rootfs.system.digests import blake3_of_file

MAGIC = b"!<arch>\n"
HEADER = 60  # bytes: name 16, mtime 12, uid 6, gid 6, mode 8, size 10, end 2 (ar(5))
CHUNK = 1 << 16
LONGEST = 1 << 20  # bytes of the control file that are read


COMPRESSIONS = {".tar": "", ".tar.gz": "gzip", ".tar.xz": "xz", ".tar.zst": "zstd"}
BROKEN = (*compression.BROKEN, compression.CorruptStream, tarfile.TarError, UnicodeDecodeError)


@dataclass(frozen=True)
class DebInfo:
    """An uncompressed copy of a deb: its control stanza, its size in bytes and its sum (`blake3_of_file`)."""

    control: str
    size: int
    sum: str


@dataclass(frozen=True)
class _Part:
    name: str
    mtime: int
    size: int


def build_time(path: Path) -> int:
    """When a deb was built: the newest time in its ar headers, in seconds since 1970. Raises BadDeb."""
    with path.open("rb") as deb:
        return max(part.mtime for part in _parts(deb, path))


def decompress_deb(path: Path, copy: Path) -> DebInfo:
    """Write the same deb without compression, which installs faster. Raises BadDeb."""
    with path.open("rb") as deb, copy.open("wb") as out:
        out.write(MAGIC)
        for part in _parts(deb, path):
            try:
                _copy(part, deb, out)
            except BROKEN as error:
                raise BadDeb(path.name, f"{part.name}: {error}") from error
    return describe_deb(copy, path.name)


def describe_deb(copy: Path, name: str) -> DebInfo:
    """What an uncompressed copy of the deb `name` is. Raises BadDeb."""
    control = ""
    with copy.open("rb") as deb:
        for part in _parts(deb, Path(name)):
            if part.name == "control.tar":
                try:
                    control = _control(deb.read(part.size))
                except BROKEN as error:
                    raise BadDeb(name, f"{part.name}: {error}") from error
    if not control:
        raise BadDeb(name, "it has no control file")
    return DebInfo(control, copy.stat().st_size, blake3_of_file(copy))


def member_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each part of a deb begins, and its size, both in bytes. Raises BadDeb."""
    with path.open("rb") as deb:
        return {part.name: (deb.tell(), part.size) for part in _parts(deb, path)}


def _parts(deb: IO[bytes], path: Path) -> Iterator[_Part]:
    """The members of the archive; the file stands at the content of each while it is looked at."""
    if deb.read(len(MAGIC)) != MAGIC:
        raise BadDeb(path.name, "it is not an ar archive")
    while header := deb.read(HEADER):
        try:
            part = _Part(header[:16].decode().strip().rstrip("/"), int(header[16:28]), int(header[48:58]))
        except ValueError as error:
            raise BadDeb(path.name, "its ar headers are broken") from error
        following = deb.tell() + part.size + part.size % 2
        yield part
        deb.seek(following)


def _copy(part: _Part, deb: IO[bytes], out: IO[bytes]) -> None:
    """Copy one member, decompressed, behind a header that says its new size and its name without compression."""
    stem, dot, ending = part.name.partition(".")
    is_tar = stem in ("control", "data")
    if is_tar and dot + ending not in COMPRESSIONS:
        raise compression.CorruptStream(f"no known compression in {part.name}")
    decompressor = compression.decompressor(COMPRESSIONS[dot + ending] if is_tar else "")
    name, start = f"{stem}.tar" if is_tar else part.name, out.tell()
    out.write(bytes(HEADER))
    left = part.size
    while left:
        data = deb.read(min(CHUNK, left))
        if not data:
            raise EOFError("it ends early")
        left -= len(data)
        out.write(decompressor.decompress(data))
    if not getattr(decompressor, "eof", True):
        raise EOFError("its compressed data end early")
    size = out.tell() - start - HEADER
    out.write(b"\n" * (size % 2))
    out.seek(start)
    out.write(f"{name:<16}{part.mtime:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode())
    out.seek(0, os.SEEK_END)


def _control(tar: bytes) -> str:
    """The text of the control file in a tar."""
    text = ""
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for info in archive:
            if info.name.removeprefix("./") == "control" and (file := archive.extractfile(info)):
                text = file.read(LONGEST).decode().strip()
    return text
