"""Normalize a tree: the same packages give the same members, whoever builds them, where and when."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from rootfs.tree import java_keystore
from rootfs.tree.errors import BadTree
from rootfs.tree.filters import Rules, filter_list, filtered
from rootfs.tree.member import Member, Members, peek

DAY = 86_400  # seconds
LARGEST = 1 << 20  # bytes of a file that is rewritten

# PEP 552: magic number, flags (0: dated by its source), modification time.
BYTECODE = struct.Struct("<H2sII")
PYTHON_3_7, PYTHON_2 = 3390, 20000  # the first magic number with flags, and one below those of Python 2


def tree_epoch(members: Members, epoch: int | None) -> tuple[Members, int]:
    """The members and the time of their tree, in seconds since 1970: `epoch`, or else the time of the first member."""
    if epoch is not None:
        return members, epoch
    rest = iter(members)
    first = list(islice(rest, 1))
    return chain(first, rest), first[0].mtime if first else 0


def normalize(members: Members, epoch: int, keep: Iterable[str] = ()) -> Iterator[Member]:
    """The members without traces of their build.

    Modification times after `epoch` (seconds since 1970) become `epoch`, the files of `filter_lists/volatile.list`
    go, except for those that the rules of `keep` include, dates of password changes are clamped, and the machine
    id is emptied. Times in Java keystores and Python bytecode are clamped as well. Raises BadTree where the file of
    password dates or the machine id is too large.
    """
    edits = _edits(epoch)
    for member in filtered(members, Rules.parse([*filter_list("volatile"), *keep])):
        clamped = replace(member, mtime=min(member.mtime, epoch)) if member.mtime > epoch else member
        yield _with_edits(clamped, edits, epoch) if clamped.is_file else clamped


def date_folders(members: Members, epoch: int) -> Iterator[Member]:
    """The members, each folder with the time `epoch`, in seconds since 1970.

    A folder's own time depends on when something was last added or removed there: on the order in which packages were
    installed, and by which program.
    """
    return (replace(member, mtime=epoch) if member.is_folder else member for member in members)


Edit = Callable[[bytes], bytes]


def _edits(epoch: int) -> dict[str, Edit]:
    return {"etc/machine-id": lambda _: b"", "etc/shadow": lambda old: clamp_shadow(old, epoch // DAY)}


def _with_edits(member: Member, edits: dict[str, Edit], epoch: int) -> Member:
    """The file without the traces of its build."""
    if edit := edits.get(member.path):
        return _edited(member, edit, epoch)
    if member.size > LARGEST:
        return member
    if member.path.endswith(".pyc"):
        return _edited(member, lambda old: clamp_bytecode(old, epoch), epoch)
    if peek(member, len(java_keystore.MAGIC)) == java_keystore.MAGIC:
        return _edited(member, lambda old: java_keystore.clamp_dates(old, epoch), epoch)
    return member


def bytecode_time(data: bytes) -> int:
    """The modification time of the source that Python bytecode names (PEP 552), in seconds since 1970; 0 for none."""
    if len(data) < BYTECODE.size:
        return 0
    magic, ending, flags, mtime = BYTECODE.unpack_from(data)
    return int(mtime) if ending == b"\r\n" and PYTHON_3_7 <= magic < PYTHON_2 and flags == 0 else 0


def is_bytecode(data: bytes) -> bool:
    """Whether it begins as Python's bytecode does."""
    return len(data) >= BYTECODE.size and data[2:4] == b"\r\n"


def clamp_bytecode(data: bytes, epoch: int) -> bytes:
    """Python bytecode of a source that is not dated after `epoch`, as the source in the tree will be."""
    if bytecode_time(data) <= epoch:
        return data
    return data[: BYTECODE.size - 4] + struct.pack("<I", epoch) + data[BYTECODE.size :]


def _edited(member: Member, edit: Edit, epoch: int) -> Member:
    if member.size > LARGEST:
        raise BadTree(f"/{member.path} has {member.size} bytes, which is too large for this file")
    old = member.content.read() if member.content else b""
    new = edit(old)
    return member.with_content(new) if new == old else replace(member.with_content(new), mtime=epoch)


def clamp_shadow(shadow: bytes, day: int) -> bytes:
    """`/etc/shadow` with no date of last change (third field, days since 1970, shadow(5)) after `day`."""
    return b"".join(_clamp_entry(line, day) for line in shadow.splitlines(keepends=True))


def _clamp_entry(line: bytes, day: int) -> bytes:
    fields = line.split(b":")
    last = b"%d" % day
    date = fields[2].lstrip(b"0") if len(fields) > 2 and fields[2].isdigit() else b""
    if (len(date), date) > (len(last), last):  # a number as text: a tree's file may have one of any length
        fields[2] = last
    return b":".join(fields)
