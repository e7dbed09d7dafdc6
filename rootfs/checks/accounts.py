"""Who a container runs as: users and groups by name or number, as engines look them up in passwd(5) and group(5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rootfs.errors import nearest
from rootfs.system.text import is_id

SHOWN = 20  # names that an error lists


class UnknownName(Exception):
    """A user or group that the tree does not have; the text is a sentence."""


@dataclass(frozen=True)
class Identity:
    """The number of a user, and the numbers of all its groups."""

    uid: int
    gids: tuple[int, ...]


def identity_of(user: str, passwd: str, group: str) -> Identity:
    """The identity of USER or USER:GROUP; empty means root. Raises UnknownName.

    A number need not be in the files. Further groups of a user count only where no group is named.
    """
    name, _, group_name = (user or "0").partition(":")
    users, groups = _rows(passwd, 4), _rows(group, 4)
    found = next((row for row in users if name in (row[0], row[2])), None)
    if found is None and not is_id(name):
        raise UnknownName(_unknown("user", name, (row[0] for row in users)))
    uid, gid = (int(found[2]), int(found[3])) if found else (int(name), 0)
    if not group_name:
        further = [int(row[2]) for row in groups if found and found[0] in row[3].split(",")]
        return Identity(uid, (gid, *further))
    numbers = {row[0]: int(row[2]) for row in groups}
    if group_name not in numbers and not is_id(group_name):
        raise UnknownName(_unknown("group", group_name, numbers))
    return Identity(uid, (numbers.get(group_name, int(group_name) if is_id(group_name) else 0),))


def _rows(text: str, fields: int) -> list[list[str]]:
    """The lines that have enough fields, and numbers where numbers are expected."""
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= fields and is_id(row[2]) and (len(row) == fields or is_id(row[3]))]


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    there = f"It has: {', '.join(names[:SHOWN])}." if names else f"It has no {kind}s: write a number."
    return " ".join(filter(None, (f"the image has no {kind} {name!r}.", nearest(name, names), there)))
