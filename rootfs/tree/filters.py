"""Path filters: which members of a tree are left out. The rules are data files in `rootfs/tree/filter_lists/`."""

from __future__ import annotations

import fnmatch
import glob
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import IO, Literal, Protocol, cast

from rootfs.tree.member import Member, Members
from rootfs.tree.paths import parent_folders

FILTERS = Path(__file__).parent / "filter_lists"

Action = Literal["exclude", "exclude-files", "exclude-folders", "include"]


class Filters(Protocol):
    """What a recipe leaves out: lists of `rootfs/tree/filter_lists/` by name, then further patterns, and exceptions."""

    @property
    def lists(self) -> Iterable[str]:
        """Names of lists."""

    @property
    def exclude(self) -> Iterable[str]:
        """Patterns of paths that are left out."""

    @property
    def include(self) -> Iterable[str]:
        """Patterns of paths that stay nevertheless."""


@dataclass(frozen=True)
class Rules:
    """Rules in order; the last that matches a path decides, as with dpkg's `path-exclude` and `path-include`."""

    steps: tuple[tuple[Action, re.Pattern[str]], ...]

    @classmethod
    def named(cls, names: Iterable[str]) -> Rules:
        """The lists of these names in `rootfs/tree/filter_lists/`, one after the other."""
        return cls.parse(line for name in names for line in filter_list(name))

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Rules:
        """Rules from lines `exclude GLOB`, `exclude-files GLOB`, `exclude-folders GLOB` and `include GLOB`.

        `exclude-files` keeps folders, and `exclude-folders` files; `#` begins a comment line.
        """
        split = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
        runs = groupby(split, key=lambda words: words[0])
        return cls(tuple((cast(Action, action), _union(pattern.strip() for _, pattern in run)) for action, run in runs))

    @classmethod
    def of(cls, *filters: Filters) -> Rules:
        """What recipes leave out, the later ones more than those before."""
        return cls.parse(line for each in filters for line in filter_lines(each))

    def keeps(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether a member stays; `path` is relative to the tree's root."""
        place = f"/{path}"
        for action, pattern in reversed(self.steps):
            if (is_folder or action != "exclude-folders") and pattern.match(place):
                return action == "include" or (is_folder and action == "exclude-files")
        return True


def filter_list(name: str) -> list[str]:
    """The lines of a list in `rootfs/tree/filter_lists/`."""
    return (FILTERS / f"{name}.list").read_text().splitlines()


def filter_lines(filters: Filters) -> list[str]:
    """The rules of a recipe: the lists it names, then its own."""
    lists = [line for name in filters.lists for line in filter_list(name)]
    return [*lists, *excluded(filters.exclude), *(f"include {pattern}" for pattern in filters.include)]


def excluded(patterns: Iterable[str]) -> list[str]:
    """Rules that leave out what matches one of these."""
    return [f"exclude {pattern}" for pattern in patterns]


def included(paths: Iterable[str]) -> list[str]:
    """Rules that keep just these paths."""
    return [f"include {glob.escape(path)}" for path in paths]


def dpkg_rules(lines: Iterable[str]) -> str:
    """The same rules as dpkg's configuration has them (dpkg(1), `path-exclude`); empty where there are none.

    dpkg has no rules for folders alone: it leaves out a folder of which nothing stays anyway.
    """
    rules = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    return "".join(
        f"path-{action}={pattern.strip()}\n" for action, pattern in rules if action in ("exclude", "include")
    )


def _union(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(each) for each in patterns))


def filtered(members: Members, rules: Rules) -> Iterator[Member]:
    """The members that the rules keep.

    A folder that is excluded still comes when something below it is kept, and a hard link whose first name is excluded
    becomes the file itself: contents that are left out are kept aside in a temporary file for that.
    """
    with tempfile.TemporaryFile() as spool:
        yield from _Filter(rules, spool).run(members)


class _Filter:
    """The state of one pass: folders that wait for a kept member, contents that wait for a kept link."""

    def __init__(self, rules: Rules, spool: IO[bytes]) -> None:
        self._rules, self._spool = rules, spool
        self._folders: dict[str, Member] = {}
        self._left_out: dict[str, tuple[Member, int]] = {}
        self._moved: dict[str, str] = {}
        self._last = ""  # the folder of the last member that was kept

    def run(self, members: Members) -> Iterator[Member]:
        for member in members:
            if self._rules.keeps(member.path, is_folder=member.is_folder):
                yield from self._parents(member.path)
                yield self._linked(member)
            elif member.is_folder:
                self._folders[member.path], self._last = member, ""
            elif member.is_file:
                self._put_aside(member)

    def _parents(self, path: str) -> Iterator[Member]:
        """Folders above a kept member that were held back, outermost first."""
        if not self._folders or (folder := path.rpartition("/")[0]) == self._last:
            return  # the member before this one has brought what is above
        self._last = folder
        for each in parent_folders(path):
            if each in self._folders:
                yield self._folders.pop(each)

    def _put_aside(self, member: Member) -> None:
        start = self._spool.seek(0, 2)
        while member.content and (data := member.content.read(1 << 20)):
            self._spool.write(data)
        self._left_out[member.path] = (member, start)

    def _linked(self, member: Member) -> Member:
        """A hard link to what was left out: the first becomes the file, later ones point to it."""
        if member.kind != tarfile.LNKTYPE:
            return member
        if member.link in self._moved:
            return replace(member, link=self._moved[member.link])
        if member.link not in self._left_out:
            return member
        file, start = self._left_out[member.link]
        self._moved[member.link] = member.path
        self._spool.seek(start)
        return replace(file, path=member.path, content=self._spool)
