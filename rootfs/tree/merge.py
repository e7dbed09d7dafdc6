"""Layers one over the other: the tree that they are together, as whoever unpacks them in their order gets it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tarfile import DIRTYPE, LNKTYPE
from typing import IO

from rootfs.system.file_slice import FileSlice
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, read_headers
from rootfs.tree.paths import parent_folders, sort_key

# OCI image specification, layer.md, "Whiteouts": what is there no more, and a folder of which nothing below is.
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
AUFS = ".wh..wh."  # what aufs notes of itself, which is of no image

FOLDER = Member(".", kind=DIRTYPE, mode=0o755)


@dataclass(frozen=True)
class LayerStack:
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
        content = FileSlice.of(self.tar, self.start, self.head.size) if self.head.is_file else None
        return replace(self.head, path=path, content=content)


MergedTree = dict[str, Node]


@contextmanager
def merge_layers(tars: Iterable[Path]) -> Iterator[MergedTree]:
    """The tree of these layers, by path; contents can be read while the block lasts. Raises BadTree."""
    with ExitStack() as opened:
        tree: MergedTree = {}
        for path in tars:
            tar = opened.enter_context(path.open("rb"))
            _lay(tree, tar)
        yield tree


def members_of(tree: Mapping[str, Node]) -> Iterator[Member]:
    """The members of a tree, sorted by `order`; the first name of what has several is the file."""
    first: dict[Node, str] = {}
    for path in sorted(tree, key=sort_key):
        node = tree[path]
        if first.setdefault(node, path) == path:
            yield node.member(path)
        else:
            yield replace(node.head, path=path, kind=LNKTYPE, size=0, link=first[node], xattrs={})


def _lay(tree: MergedTree, tar: IO[bytes]) -> None:
    """One more layer. Its whiteouts speak of the layers below alone, wherever in it they stand."""
    own: MergedTree = {}
    hidden: list[str] = []
    for member, start in read_headers(tar):
        if WHITEOUT in member.path and any(part.startswith(WHITEOUT) for part in member.path.split("/")):
            hidden.append(member.path)
        else:
            own[member.path] = _node(member, tar, start, own, tree)
    for path in hidden:
        _hide(tree, *posixpath.split(path))
    for path in sorted(own, key=sort_key):
        _put(tree, path, own[path], tar)


def _node(member: Member, tar: IO[bytes], start: int, own: MergedTree, below: MergedTree) -> Node:
    """What the member is: a hard link leads into its own layer, or to what was there before that hides anything."""
    if member.kind != LNKTYPE:
        return Node(member, tar, start)
    if node := own.get(member.link) or below.get(member.link):
        return node
    raise BadTree(f"{member.path} is a hard link to {member.link}, which is not there")


def _hide(tree: MergedTree, folder: str, name: str) -> None:
    if name == OPAQUE:
        _empty(tree, folder or ".")
    elif not name.startswith(AUFS):
        _remove(tree, posixpath.join(folder, name.removeprefix(WHITEOUT)))


def _put(tree: MergedTree, path: str, node: Node, tar: IO[bytes]) -> None:
    """A folder over a folder keeps what is in it; the folders above that no layer has are made."""
    for folder in reversed(parent_folders(path)):
        if folder in tree:
            if not tree[folder].head.is_folder:
                raise BadTree(f"{path} is below {folder}, which is no folder")
            break
        tree[folder] = Node(replace(FOLDER, path=folder), tar, 0)
    if (before := tree.get(path)) and before.head.is_folder and not node.head.is_folder:
        _empty(tree, path)
    tree[path] = node


def _remove(tree: MergedTree, path: str) -> None:
    if (node := tree.pop(path, None)) and node.head.is_folder:
        _empty(tree, path)


def _empty(tree: MergedTree, folder: str) -> None:
    start = "" if folder == "." else f"{folder}/"
    for path in [path for path in tree if path.startswith(start) and path != "."]:
        del tree[path]
