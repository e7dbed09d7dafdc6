"""The difference between two trees as a layer: new and changed members, and whiteouts for removed ones.

As layer.md of the OCI image specification requires: each member comes after all folders that contain it, since engines
create missing ones with arbitrary attributes; a removed folder is one whiteout; hard links never lead out of the layer,
so a file with several names comes with all of them as soon as one of them changes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from tarfile import LNKTYPE
from typing import IO

from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, Members, close_copy, seekable
from rootfs.tree.merge import WHITEOUT, Node
from rootfs.tree.paths import parent_folders, sort_key

CHUNK = 1 << 20


def diff_members(base: Mapping[str, Node], members: Members) -> Iterator[Member]:
    """The members of the layer, at least the root folder, in an order that depends only on the two trees.

    Raises BadTree for a file that is named like a whiteout.
    """
    return _LayerDiff(base).of(members)


class _LayerDiff:
    """The state of one pass over the new tree. A file with several names is identified by the first."""

    def __init__(self, base: Mapping[str, Node]) -> None:
        self._base = base
        self._seen: set[str] = set()
        self._folders: dict[str, Member] = {}
        self._sent: set[str] = set()
        self._same: dict[str, Node] = {}  # unchanged files, by their first name
        self._taken: set[Node] = set()
        self._links: dict[str, list[Member]] = {}  # further names of unchanged files
        self._renamed: dict[str, None] = {}  # unchanged files with a new name

    def of(self, members: Members) -> Iterator[Member]:
        for member in members:
            if posixpath.basename(member.path).startswith(WHITEOUT):
                raise BadTree(f"no file of a layer may be called {member.path}: it would remove another one")
            self._seen.add(member.path)
            if member.is_folder:
                self._folders[member.path] = member
            if (changed := self._changed(member)) is not None:
                yield from self._with_folders(changed)
                close_copy(changed, member)
        for first in self._renamed:
            for member in (self._same[first].member(first), *self._links[first]):
                yield from self._with_folders(member)
        for path in self._removed():
            folder, name = posixpath.split(path)
            yield from self._with_folders(Member(posixpath.join(folder, f"{WHITEOUT}{name}")))
        yield from self._send(self._folders["."])

    def _changed(self, member: Member) -> Member | None:
        """The member, readable from its beginning, if the layer needs it."""
        if member.kind == LNKTYPE:
            return self._changed_link(member)
        node = self._base.get(member.path)
        if node is None or node in self._taken or replace(node.head, path=member.path) != replace(member, content=None):
            return member
        if member.content:
            again = seekable(member)
            assert again.content  # noqa: S101 - as before
            if not _same(again.content, node.member(member.path).content):
                again.content.seek(0)
                return again
            close_copy(again, member)
        self._same[member.path] = node
        self._taken.add(node)
        return None

    def _changed_link(self, member: Member) -> Member | None:
        node = self._same.get(member.link)
        if node is None:
            return member
        self._links.setdefault(member.link, []).append(member)
        if self._base.get(member.path) is not node:
            self._renamed[member.link] = None
        return None

    def _removed(self) -> list[str]:
        """Removed paths whose folder is still there."""
        gone = (path for path in self._base if path not in self._seen)
        return sorted((path for path in gone if (posixpath.dirname(path) or ".") in self._folders), key=sort_key)

    def _with_folders(self, member: Member) -> Iterator[Member]:
        """A member after the folders that contain it."""
        for path in (".", *parent_folders(member.path)):
            yield from self._send(self._folders[path])
        yield from self._send(member)

    def _send(self, member: Member) -> Iterator[Member]:
        if member.path not in self._sent:
            self._sent.add(member.path)
            yield member


def _same(one: IO[bytes], other: IO[bytes] | None) -> bool:
    while chunk := one.read(CHUNK):
        if other is None or chunk != other.read(CHUNK):
            return False
    return True
