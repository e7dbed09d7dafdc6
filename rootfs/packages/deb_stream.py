"""Read a deb's control fields and files from a stream that cannot go back, such as a blob of the store."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import IO, cast

from debian_inspector.debcon import Debian822

from rootfs.packages.deb import BROKEN, CHUNK, MAX_CONTROL, open_members
from rootfs.packages.errors import BadDeb
from rootfs.system.decompression import DecompressedStream, Readable
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, from_tar


def control_fields(deb: Readable, name: str) -> Mapping[str, str]:
    """The control fields of the deb `name`, by lower-case name. Raises BadDeb."""
    for member in _tar_members(deb, name, "control"):
        if member.path == "control" and member.content:
            try:
                return dict(Debian822.from_string(member.content.read(MAX_CONTROL).decode()))
            except BROKEN as error:
                raise BadDeb(name, f"its control file: {error}") from error
    raise BadDeb(name, "it has no control file")


def data_members(deb: Readable, name: str) -> Iterator[Member]:
    """The files of the deb `name`, in its order, decompressed while they are read. Raises BadDeb."""
    return _tar_members(deb, name, "data")


def _tar_members(deb: Readable, name: str, stem: str) -> Iterator[Member]:
    forward = _ForwardStream(deb)
    for member, size in open_members(cast(IO[bytes], forward), name):
        if member.partition(".")[0] != stem:
            continue
        forward.end = forward.tell() + size
        try:
            yield from from_tar(cast(IO[bytes], DecompressedStream(forward)))
        except (*BROKEN, BadTree) as error:
            raise BadDeb(name, f"{member}: {error}") from error
        return
    raise BadDeb(name, f"it has no {stem} tar")


class _ForwardStream:
    """A stream with a position. It is read up to `end`, if that is set. Seeking forward reads what is between."""

    def __init__(self, stream: Readable) -> None:
        self._stream, self._position, self.end = stream, 0, sys.maxsize

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self.end - self._position))
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass
