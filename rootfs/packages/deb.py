"""Read and decompress deb files: an ar archive of a version, a control tar and a data tar (deb(5))."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rootfs.packages.errors import BadDeb
from rootfs.system import decompression
from rootfs.system.digests import blake3_of_file

MAGIC = b"!<arch>\n"
HEADER = 60  # bytes: name 16, mtime 12, uid 6, gid 6, mode 8, size 10, end 2 (ar(5))
CHUNK = 1 << 16
MAX_CONTROL = 1 << 20  # bytes of the control file that are read


COMPRESSIONS = {".tar": "", ".tar.gz": "gzip", ".tar.xz": "xz", ".tar.zst": "zstd"}
BROKEN = (*decompression.BROKEN, decompression.CorruptStream, tarfile.TarError, UnicodeDecodeError)


@dataclass(frozen=True)
class DebInfo:
    """An uncompressed copy of a deb: its control stanza, its size in bytes and its BLAKE3."""

    control: str
    size: int
    sum: str


@dataclass(frozen=True)
class _Member:
    name: str
    mtime: int
    size: int


def build_time(path: Path) -> int:
    """When a deb was built: the newest time in its ar headers, in seconds since 1970. Raises BadDeb."""
    with path.open("rb") as deb:
        return max(member.mtime for member in _members(deb, path))


def decompress_deb(path: Path, copy: Path) -> DebInfo:
    """Write the same deb without compression, which installs faster. Raises BadDeb."""
    with path.open("rb") as deb, copy.open("wb") as out:
        out.write(MAGIC)
        for member in _members(deb, path):
            try:
                _copy(member, deb, out)
            except BROKEN as error:
                raise BadDeb(path.name, f"{member.name}: {error}") from error
    return describe_deb(copy, path.name)


def describe_deb(copy: Path, name: str) -> DebInfo:
    """Read an uncompressed copy of the deb `name`. Raises BadDeb."""
    control = ""
    with copy.open("rb") as deb:
        for member in _members(deb, Path(name)):
            if member.name == "control.tar":
                try:
                    control = _control(deb.read(member.size))
                except BROKEN as error:
                    raise BadDeb(name, f"{member.name}: {error}") from error
    if not control:
        raise BadDeb(name, "it has no control file")
    return DebInfo(control, copy.stat().st_size, blake3_of_file(copy))


def member_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """The offset and size in bytes of each member of a deb. Raises BadDeb."""
    with path.open("rb") as deb:
        return {member.name: (deb.tell(), member.size) for member in _members(deb, path)}


def open_members(deb: IO[bytes], name: str) -> Iterator[tuple[str, int]]:
    """The name and size of each member of the deb `name`. The file is at its content when it is yielded.

    Raises BadDeb.
    """
    return ((member.name, member.size) for member in _members(deb, Path(name)))


def _members(deb: IO[bytes], path: Path) -> Iterator[_Member]:
    """The members of the archive. The file is at the content of each when it is yielded."""
    if deb.read(len(MAGIC)) != MAGIC:
        raise BadDeb(path.name, "it is not an ar archive")
    while header := deb.read(HEADER):
        try:
            member = _Member(header[:16].decode().strip().rstrip("/"), int(header[16:28]), int(header[48:58]))
        except ValueError as error:
            raise BadDeb(path.name, "its ar headers are broken") from error
        next_member = deb.tell() + member.size + member.size % 2
        yield member
        deb.seek(next_member)


def _copy(member: _Member, deb: IO[bytes], out: IO[bytes]) -> None:
    """Copy one member, decompressed, with a header for its new name and size."""
    stem, dot, ending = member.name.partition(".")
    is_tar = stem in ("control", "data")
    if is_tar and dot + ending not in COMPRESSIONS:
        raise decompression.CorruptStream(f"no known compression in {member.name}")
    decompressor = decompression.decompressor(COMPRESSIONS[dot + ending] if is_tar else "")
    name, start = f"{stem}.tar" if is_tar else member.name, out.tell()
    out.write(bytes(HEADER))
    remaining = member.size
    while remaining:
        data = deb.read(min(CHUNK, remaining))
        if not data:
            raise EOFError("it ends early")
        remaining -= len(data)
        out.write(decompressor.decompress(data))
    if not getattr(decompressor, "eof", True):
        raise EOFError("its compressed data end early")
    size = out.tell() - start - HEADER
    out.write(b"\n" * (size % 2))
    out.seek(start)
    out.write(f"{name:<16}{member.mtime:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode())
    out.seek(0, os.SEEK_END)


def _control(tar: bytes) -> str:
    """The text of the control file in a tar."""
    text = ""
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for info in archive:
            if info.name.removeprefix("./") == "control" and (file := archive.extractfile(info)):
                text = file.read(MAX_CONTROL).decode().strip()
    return text
