"""What makes a tree repeatable: the same packages give the same members, whoever builds them, where and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rootfs.members import Member, Members
from rootfs.slim import Rules, filtered

DAY = 86_400  # seconds


def normalised(members: Members, epoch: int) -> Iterator[Member]:
    """The members without the traces of their making.

    Modification times after `epoch` (seconds since 1970) become `epoch`, the files of `rootfs/filters/volatile.list`
    go, dates of password changes are clamped, the machine id is emptied.
    """
    edits = _edits(epoch)
    for member in filtered(members, Rules.named(["volatile"])):
        clamped = replace(member, mtime=min(member.mtime, epoch)) if member.mtime > epoch else member
        if clamped.is_file and clamped.path in edits:
            yield _edited(clamped, edits[clamped.path], epoch)
        else:
            yield clamped


Edit = Callable[[bytes], bytes]


def _edits(epoch: int) -> dict[str, Edit]:
    return {"etc/machine-id": lambda _: b"", "etc/shadow": lambda old: clamp_shadow(old, epoch // DAY)}


def _edited(member: Member, edit: Edit, epoch: int) -> Member:
    old = member.content.read() if member.content else b""
    new = edit(old)
    return member.holding(new) if new == old else replace(member.holding(new), mtime=epoch)


def clamp_shadow(shadow: bytes, day: int) -> bytes:
    """`/etc/shadow` with no date of last change (third field, days since 1970, shadow(5)) after `day`."""
    return b"".join(_clamp_entry(line, day) for line in shadow.splitlines(keepends=True))


def _clamp_entry(line: bytes, day: int) -> bytes:
    fields = line.split(b":")
    if len(fields) > 2 and fields[2].isdigit() and int(fields[2]) > day:
        fields[2] = b"%d" % day
    return b":".join(fields)
