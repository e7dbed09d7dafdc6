"""User accounts: users and groups in the tree's text files (passwd(5), group(5), shadow(5), gshadow(5)).

No tool of the tree is needed, so that images without such tools can have users too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rootfs.install import chroot_files
from rootfs.install.errors import bad_account, unknown_owner
from rootfs.install.plan import NewGroup, NewUser
from rootfs.system.text import is_id
from rootfs.tree.normalize import DAY

NO_HOME = "/nonexistent"
LOGIN_RECORDS = ("lastlog", "faillog")
LOCKED = "!"  # no password matches

Table = list[list[str]]


class Accounts:
    """The four tables, as lists of fields; a table that the tree does not have is not created."""

    FILES = ("passwd", "group", "shadow", "gshadow")

    def __init__(self, tables: dict[str, str]) -> None:
        self._tables = {name: [line.split(":") for line in text.splitlines()] for name, text in tables.items()}

    def texts(self) -> dict[str, str]:
        """The text of each table's file, by name."""
        return {name: "".join(":".join(fields) + "\n" for fields in table) for name, table in self._tables.items()}

    def add_group(self, group: NewGroup) -> None:
        """Add a group. Raises InputError where its name or number is taken."""
        for name, _, number, *_ in self._table("group"):
            if name == group.name:
                raise bad_account(f"there is a group {name} already, with number {number}", name)
            if number == str(group.gid):
                raise bad_account(f"group {group.name} cannot have number {number}: {name} has it", group.name)
        self._append("group", [group.name, "x", str(group.gid), ""])
        self._append("gshadow", [group.name, LOCKED, "", ""])

    def add_user(self, user: NewUser, day: int) -> None:
        """Add a user; `day` is the date of its password, in days since 1970. Raises InputError."""
        for name, _, number, *_ in self._table("passwd"):
            if name == user.name:
                raise bad_account(f"there is a user {name} already, with number {number}", name)
            if number == str(user.uid):
                raise bad_account(f"user {user.name} cannot have number {number}: {name} has it", user.name)
        gid = self._group_of(user)
        self._append("passwd", [user.name, "x", str(user.uid), str(gid), "", user.home, user.shell])
        self._append("shadow", [user.name, LOCKED, str(day), "0", "99999", "7", "", "", ""])
        for group in user.groups:
            self._join(group, user.name)

    def gid_of(self, group: str) -> int | None:
        """The number of a group; None where there is no group of this name."""
        return self._ids("group").get(group)

    def owner_of(self, user: NewUser) -> chroot_files.Owner:
        """The numbers of a user and of its primary group."""
        return next((int(fields[2]), int(fields[3])) for fields in self._table("passwd") if fields[0] == user.name)

    def ids_of(self, owner: str, where: str) -> chroot_files.Owner:
        """The numbers of an owner USER:GROUP, for the file `where`. Raises InputError for an unknown name."""
        user, _, group = owner.partition(":")
        return self._number(user, "passwd", where), self._number(group, "group", where)

    def _number(self, word: str, table: str, where: str) -> int:
        if word.isdigit():
            return int(word)
        known = self._ids(table)
        if word not in known:
            raise unknown_owner(word, "user" if table == "passwd" else "group", where, known)
        return known[word]

    def _ids(self, table: str) -> dict[str, int]:
        """The numbers of users or groups by name. Of several of a name the first counts (getpwnam(3))."""
        known: dict[str, int] = {}
        for name, _, number, *_ in self._table(table):
            if is_id(number):
                known.setdefault(name, int(number))
        return known

    def _group_of(self, user: NewUser) -> int:
        gid = self.gid_of(user.group or user.name)
        if user.group is None and gid != user.uid:
            self.add_group(NewGroup(user.name, user.uid))
            return user.uid
        if gid is None:
            raise bad_account(f"there is no group {user.group}, which user {user.name} is to have", user.name)
        return gid

    def _join(self, group: str, user: str) -> None:
        if self.gid_of(group) is None:
            raise bad_account(f"there is no group {group}, which user {user} is to belong to", user)
        for fields in [*self._table("group"), *self._table("gshadow")]:
            if fields[0] == group:
                fields[3] = ",".join(filter(None, (fields[3], user)))

    def _table(self, name: str) -> Table:
        return [fields for fields in self._tables.get(name, []) if len(fields) > 3]

    def _append(self, name: str, fields: list[str]) -> None:
        if name in self._tables:
            self._tables[name].append(fields)


def read_accounts(tree: Path) -> Accounts:
    """The accounts of a tree. Raises InputError."""
    files = _files(tree)
    return Accounts({name: place.read_text() for name, place in files.items() if place.is_file()})


def _files(tree: Path) -> dict[str, Path]:
    return {name: chroot_files.resolve_path(tree, f"/etc/{name}") for name in Accounts.FILES}


def empty_login_records(tree: Path) -> None:
    """Empty the files that have a record for each user's number: those of large numbers have hundreds of gigabytes.

    They are sparse on a disk, but not in a layer.
    """
    for name in LOGIN_RECORDS:
        place = tree / "var/log" / name
        # Some file systems give an empty file that is truncated another time, and some do not.
        if place.is_file() and not place.is_symlink() and place.stat().st_size:
            os.truncate(place, 0)


def add_accounts(tree: Path, groups: Iterable[NewGroup], users: tuple[NewUser, ...], epoch: int) -> None:
    """Add groups, users and their home folders to a tree. Raises InputError, MachineError."""
    files, accounts = _files(tree), read_accounts(tree)
    for group in groups:
        accounts.add_group(group)
    for user in users:
        accounts.add_user(user, epoch // DAY)
    for name, text in accounts.texts().items():
        if files[name].read_text() != text:
            files[name].write_text(text)
    for user in users:
        if user.home != NO_HOME and not chroot_files.resolve_path(tree, user.home).exists():
            chroot_files.set_owner(chroot_files.make_folder(tree, user.home), accounts.owner_of(user))
