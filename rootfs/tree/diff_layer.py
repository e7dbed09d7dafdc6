"""The layer that makes one tree of another: what is new or other, and whiteouts for what is there no more.

As layer.md of the OCI image specification wants it: each member stands below all the folders that lead to it, since
engines make those that a layer lacks as they please; a removed folder is one whiteout; hard links never lead out of the
layer, so what has several names comes with all of them as soon as one of them is other than it was.
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


def diff_members(parent: Mapping[str, Node], members: Members) -> Iterator[Member]:
    """The members of the layer, which has the root folder at least, in an order that depends on the two trees alone.

    Raises BadTree for a name that only a whiteout may have.
    """
    return _Difference(parent).of(members)


class _Difference:
    """The state of one pass over the new tree. What has several names is known by the first of them."""

    def __init__(self, parent: Mapping[str, Node]) -> None:
        self._parent = parent
        self._seen: set[str] = set()
        self._folders: dict[str, Member] = {}
        self._sent: set[str] = set()
        self._same: dict[str, Node] = {}  # what is as it was, by its first name
        self._taken: set[Node] = set()
        self._links: dict[str, list[Member]] = {}  # further names of what is as it was
        self._late: dict[str, None] = {}  # what is as it was, but has another name

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
        for first in self._late:
            for member in (self._same[first].member(first), *self._links[first]):
                yield from self._with_folders(member)
        for path in self._removed():
            folder, name = posixpath.split(path)
            yield from self._with_folders(Member(posixpath.join(folder, f"{WHITEOUT}{name}")))
        yield from self._send(self._folders["."])

    def _changed(self, member: Member) -> Member | None:
        """The member, as it can still be read, if the layer needs it now."""
        if member.kind == LNKTYPE:
            return self._changed_link(member)
        node = self._parent.get(member.path)
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
        if self._parent.get(member.path) is not node:
            self._late[member.link] = None
        return None

    def _removed(self) -> list[str]:
        """What is gone although the folder it was in is not."""
        gone = (path for path in self._parent if path not in self._seen)
        return sorted((path for path in gone if (posixpath.dirname(path) or ".") in self._folders), key=sort_key)

    def _with_folders(self, member: Member) -> Iterator[Member]:
        """A member behind the folders that lead to it."""
        for path in (".", *parent_folders(member.path)):
            yield from self._send(self._folders[path])
        yield from self._send(member)

    def _send(self, member: Member) -> Iterator[Member]:
        if member.path not in self._sent:
            self._sent.add(member.path)
            yield member


def _same(one: IO[bytes], other: IO[bytes] | None) -> bool:
    while piece := one.read(CHUNK):
        if other is None or piece != other.read(CHUNK):
            return False
    return True
