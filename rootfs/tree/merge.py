"""Merge the layers of an image to one tree, as unpacking them in order does."""

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

# OCI image specification, layer.md, "Whiteouts": a removed path, and a folder whose lower contents are hidden.
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
AUFS = ".wh..wh."  # files that aufs itself makes, which belong to no image

FOLDER = Member(".", kind=DIRTYPE, mode=0o755)


@dataclass(frozen=True)
class LayerStack:
    """The uncompressed tars of an image's layers, the lowest first, and its epoch in seconds since 1970."""

    tars: tuple[Path, ...]
    epoch: int


@dataclass(frozen=True, eq=False)
class Node:
    """A file, folder or link of a tree; all hard links to a file share one node. Its content begins at `start`."""

    head: Member
    tar: IO[bytes]
    start: int

    def member(self, path: str) -> Member:
        """The node as the member at this path, with its content."""
        content = FileSlice.of(self.tar, self.start, self.head.size) if self.head.is_file else None
        return replace(self.head, path=path, content=content)


MergedTree = dict[str, Node]


@contextmanager
def merge_layers(tars: Iterable[Path]) -> Iterator[MergedTree]:
    """Merge these layers to a tree, by path; contents can be read inside the block. Raises BadTree."""
    with ExitStack() as opened:
        tree: MergedTree = {}
        for path in tars:
            tar = opened.enter_context(path.open("rb"))
            _apply_layer(tree, tar)
        yield tree


def members_of(tree: Mapping[str, Node]) -> Iterator[Member]:
    """The members of a tree, sorted by path; of a file with several names the first is the file."""
    first: dict[Node, str] = {}
    for path in sorted(tree, key=sort_key):
        node = tree[path]
        if first.setdefault(node, path) == path:
            yield node.member(path)
        else:
            yield replace(node.head, path=path, kind=LNKTYPE, size=0, link=first[node], xattrs={})


def _apply_layer(tree: MergedTree, tar: IO[bytes]) -> None:
    """Apply one more layer. Its whiteouts apply only to lower layers, wherever they are in the tar."""
    own: MergedTree = {}
    removed, emptied = set[str](), set[str]()
    for member, start in read_headers(tar):
        if WHITEOUT in member.path and any(part.startswith(WHITEOUT) for part in member.path.split("/")):
            _note_whiteout(*posixpath.split(member.path), removed, emptied)
        else:
            own[member.path] = _node(member, tar, start, own, tree)
    emptied.update(path for path, node in own.items() if path in tree and not node.head.is_folder)
    _remove(tree, removed, emptied)
    for path in sorted(own, key=sort_key):
        _put(tree, path, own[path], tar)


def _node(member: Member, tar: IO[bytes], start: int, own: MergedTree, lower: MergedTree) -> Node:
    """The node of a member. A hard link refers to its own layer, or to the tree before this layer's whiteouts."""
    if member.kind != LNKTYPE:
        return Node(member, tar, start)
    if node := own.get(member.link) or lower.get(member.link):
        return node
    raise BadTree(f"{member.path} is a hard link to {member.link}, which is not there")


def _note_whiteout(folder: str, name: str, removed: set[str], emptied: set[str]) -> None:
    if name == OPAQUE:
        emptied.add(folder or ".")
    elif not name.startswith(AUFS):
        removed.add(posixpath.join(folder, name.removeprefix(WHITEOUT)))


def _put(tree: MergedTree, path: str, node: Node, tar: IO[bytes]) -> None:
    """Put a node at a path. A folder over a folder keeps its contents; missing parent folders are added."""
    for folder in reversed(parent_folders(path)):
        if folder in tree:
            if not tree[folder].head.is_folder:
                raise BadTree(f"{path} is below {folder}, which is no folder")
            break
        tree[folder] = Node(replace(FOLDER, path=folder), tar, 0)
    tree[path] = node


def _remove(tree: MergedTree, removed: set[str], emptied: set[str]) -> None:
    """Remove these paths, and what is below them and below the emptied folders, in one pass over the tree."""
    if not removed and not emptied:
        return
    above = removed | emptied
    for path in [path for path in tree if path != "."]:
        if path in removed or "." in emptied or not above.isdisjoint(parent_folders(path)):
            del tree[path]
