"""Layers, one over the other, to the members of the tree that they make (OCI image specification, layer.md).

What a layer hides of those below it, it says by names: `.wh.NAME` hides NAME beside it, `.wh..wh..opq` all that its
folder had. Contents are kept in a file until the last layer has passed; of the rest, the heads alone are in memory.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from rootfs.errors import BadTree
from rootfs.members import Member, Members

HIDES = ".wh."
OPAQUE = ".wh..wh..opq"
OTHER = ".wh..wh."  # what aufs notes of itself, which is of no image
ROOT = Member(".", kind=tarfile.DIRTYPE, mode=0o755)
BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class _Node:
    """A file of the tree, whatever its names: its head, and where its content begins."""

    head: Member
    start: int = 0


@dataclass
class Merged:
    """The tree of the layers that were added so far; `contents` is an empty file that is open for reading, too."""

    contents: BinaryIO
    _nodes: dict[str, _Node] = field(default_factory=lambda: {ROOT.path: _Node(ROOT)})

    def add(self, layer: Members) -> None:
        """Put a layer over those that are there. Raises BadTree for one that contradicts itself."""
        own: dict[str, _Node] = {}
        hidden: list[str] = []
        for member in layer:
            folder, _, name = member.path.rpartition("/")
            if name == OPAQUE:
                hidden += self._below(folder)
            elif name.startswith(HIDES) and not name.startswith(OTHER):
                hidden.append(_joined(folder, name.removeprefix(HIDES)))
            elif not name.startswith(OTHER):
                own[member.path] = self._node(member, own)
        for path in hidden:
            self._hide(path)
        for path in sorted(own, key=_order):
            self._put(path, own[path])

    def members(self) -> Iterator[Member]:
        """Each folder before what is in it, the entries of a folder sorted by bytes.

        A file with several names is stored under the first; the others are hard links to that.
        """
        firsts: dict[int, str] = {}
        for path in sorted(self._nodes, key=_order):
            node = self._nodes[path]
            if (first := firsts.setdefault(id(node), path)) != path:
                yield replace(node.head, path=path, kind=tarfile.LNKTYPE, link=first, size=0, xattrs={})
            elif node.head.is_file:
                piece = io.BufferedReader(_Piece(self.contents, node.start, node.head.size), BUFFER)
                yield replace(node.head, path=path, content=piece)
            else:
                yield replace(node.head, path=path)

    def _node(self, member: Member, own: dict[str, _Node]) -> _Node:
        """What the member is: a hard link is what it leads to, in its own layer or below."""
        if member.kind == tarfile.LNKTYPE:
            if node := own.get(member.link) or self._nodes.get(member.link):
                return node
            raise BadTree(f"{member.path} is a hard link to {member.link}, which is not there")
        if not member.is_file or member.content is None:
            return _Node(member)
        start = self.contents.seek(0, os.SEEK_END)
        shutil.copyfileobj(member.content, self.contents, 1 << 20)
        return _Node(replace(member, content=None), start)

    def _put(self, path: str, node: _Node) -> None:
        """A folder over a folder keeps what is in it; all else takes the place of what was there."""
        there = self._nodes.get(path)
        if there and not (there.head.is_folder and node.head.is_folder):
            self._hide(path)
        self._within(path)
        self._nodes[path] = node

    def _within(self, path: str) -> None:
        """See that the folders above are there; one that no layer has is made."""
        folder = path.rpartition("/")[0]
        if not folder:
            return
        if (above := self._nodes.get(folder)) is None:
            self._put(folder, _Node(replace(ROOT, path=folder)))
        elif not above.head.is_folder:
            raise BadTree(f"{path} is below {folder}, which is no folder")

    def _below(self, folder: str) -> list[str]:
        return [path for path in self._nodes if path != ROOT.path and (not folder or path.startswith(f"{folder}/"))]

    def _hide(self, path: str) -> None:
        node = self._nodes.pop(path, None)
        if node and node.head.is_folder:
            for below in self._below(path):
                del self._nodes[below]


def merged(layers: Iterable[Members], contents: BinaryIO) -> Iterator[Member]:
    """The members of the tree that layers make, the lowest first; `contents` as for `Merged`. Raises BadTree."""
    tree = Merged(contents)
    for layer in layers:
        tree.add(layer)
    yield from tree.members()


class _Piece(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # of what io hands in
        self._file.seek(self._at)
        data = self._file.read(min(len(buffer), self._end - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _order(path: str) -> list[bytes]:
    return [] if path == ROOT.path else os.fsencode(path).split(b"/")
