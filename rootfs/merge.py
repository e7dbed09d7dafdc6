"""Layers one over the other: the tree that they are together, as whoever unpacks them in their order gets it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tarfile import LNKTYPE
from typing import IO

from rootfs.errors import BadTree
from rootfs.members import Member, Slice, heads

# OCI image specification, layer.md, "Whiteouts": what is there no more, and a folder of which nothing below is.
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Stack:
    """The plain tars of an image's layers, the lowest first, and its time in seconds since 1970."""

    tars: tuple[Path, ...]
    epoch: int


@dataclass(frozen=True, eq=False)
class Node:
    """What paths of a tree lead to: all of its hard links to the same node. The content is at `start` of the tar."""

    head: Member
    tar: IO[bytes]
    start: int

    def member(self, path: str) -> Member:
        """It as the member of this path, with a content of its own."""
        content = Slice.of(self.tar, self.start, self.head.size) if self.head.is_file else None
        return replace(self.head, path=path, content=content)


Tree = dict[str, Node]


@contextmanager
def tree_of(tars: Iterable[Path]) -> Iterator[Tree]:
    """The tree of these layers, by path; contents can be read while the block lasts. Raises BadTree."""
    with ExitStack() as opened:
        tree: Tree = {}
        for path in tars:
            tar = opened.enter_context(path.open("rb"))
            _lay(tree, tar)
        yield tree


def members_of(tree: Mapping[str, Node]) -> Iterator[Member]:
    """The members of a tree in the order of `members.from_tree`; the first name of what has several is the file."""
    first: dict[Node, str] = {}
    for path in sorted(tree, key=order):
        node = tree[path]
        if first.setdefault(node, path) == path:
            yield node.member(path)
        else:
            yield replace(node.head, path=path, kind=LNKTYPE, size=0, link=first[node], xattrs={})


def order(path: str) -> tuple[bytes, ...]:
    """What sorts paths as `members.from_tree` has them."""
    return () if path == "." else tuple(os.fsencode(path).split(b"/"))


def _lay(tree: Tree, tar: IO[bytes]) -> None:
    """One more layer. Its whiteouts speak of the layers below alone, wherever in it they stand."""
    entries = list(heads(tar))
    for member, _ in entries:
        folder, name = posixpath.split(member.path)
        if name == OPAQUE:
            _empty(tree, folder or ".")
        elif name.startswith(WHITEOUT):
            _remove(tree, posixpath.join(folder, name.removeprefix(WHITEOUT)))
    for member, start in entries:
        if not posixpath.basename(member.path).startswith(WHITEOUT):
            _put(tree, member, Node(member, tar, start))


def _put(tree: Tree, member: Member, node: Node) -> None:
    if member.kind == LNKTYPE:
        if member.link not in tree:
            raise BadTree(f"{member.path} is a hard link to {member.link}, which is not there")
        node = tree[member.link]
    if (before := tree.get(member.path)) and before.head.is_folder and not node.head.is_folder:
        _empty(tree, member.path)
    tree[member.path] = node


def _remove(tree: Tree, path: str) -> None:
    if (node := tree.pop(path, None)) and node.head.is_folder:
        _empty(tree, path)


def _empty(tree: Tree, folder: str) -> None:
    start = "" if folder == "." else f"{folder}/"
    for path in [path for path in tree if path.startswith(start) and path != "."]:
        del tree[path]
