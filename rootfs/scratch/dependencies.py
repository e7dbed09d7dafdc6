"""Runtime dependencies of a scratch image: takes only the libraries, interpreters and licenses that its files need."""

from __future__ import annotations

import posixpath
import re
from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from tarfile import LNKTYPE

from rootfs.elf.linkage import CACHE, LinkageCheck, link_chain
from rootfs.errors import InputError
from rootfs.scratch.unpack import UnpackedPackages
from rootfs.tree.member import Member, close_copy
from rootfs.tree.package_tree import PackageTree, TreeEntry, aliases, is_link

BUILT_IN_SERVICES = ("dns", "files")  # services that glibc has in itself (2.34, NEWS: libnss_files and libnss_dns)
NSSWITCH = "etc/nsswitch.conf"
DOC_FOLDER = "usr/share/doc"
ENV_PROGRAMS = ("/usr/bin/env", "/bin/env")
PATH_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")  # of PATH, aliases resolved
MAX_FIRST_LINE = 256  # bytes of a first line that the kernel reads (BINPRM_BUF_SIZE)


class DependencyResolver:
    """Adds files of `debs` to `tree`. Packages that are `complete` are in the tree already, except for a link that
    their folder of documentation may be. `has_linker_cache`: the linker's cache will be in the tree.
    """

    def __init__(
        self,
        tree: PackageTree,
        debs: UnpackedPackages,
        complete: set[str],
        library_path: str,
        *,
        has_linker_cache: bool,
    ) -> None:
        self._tree = tree
        self._spare = {
            path: entry
            for name in sorted(debs)
            for path, entry in debs[name].tree.entries.items()
            if not entry.member.is_folder and (name not in complete or path == f"{DOC_FOLDER}/{name}")
        }
        links = {path: entry.member.link for path, entry in self._spare.items() if is_link(entry)}
        self._links = ChainMap(tree.links, links, {alias.path: alias.link for alias in aliases()})
        self._linkage = LinkageCheck(library_path)
        for alias in aliases():
            self._linkage.observe_member(alias)
        if has_linker_cache:
            self._linkage.observe_member(Member(CACHE).with_content(b"to be written"))
        self._noted: set[str] = set()

    def resolve(self, opened: Iterable[str], scripts: Iterable[TreeEntry]) -> None:
        """Add what `opened` names, interpreters of `scripts`, name services, the libraries of all these, and licenses.

        Raises InputError.
        """
        for script in scripts:
            for interpreter in _interpreters(script):
                if not self._add_program(interpreter):
                    raise InputError(
                        f"/{script.path} is a script for {interpreter}, which the image lacks",
                        hint="Name its package in `packages`, or the script in `unlinked` if nothing runs it.",
                    )
        for library in opened:
            self._add_library(library, "named in `opened`")
        self._add_linked()
        if any(entry.path.endswith("/libc.so.6") for entry in self._tree.entries.values()):
            for service in _name_services(self._tree):
                self._add_library(f"libnss_{service}.so.2", f"for {service} in /{NSSWITCH}")
        self._add_linked()
        self._add_licenses()

    def add(self, path: str) -> bool:
        """Add a file, and the links on the way to it; whether it is in the tree now."""
        steps = link_chain(path, self._links)
        for step in steps:
            if step not in self._tree.entries and step in self._spare:
                self._tree.add(self._spare[step])
                if self._spare[step].member.kind == LNKTYPE:
                    self.add(self._spare[step].member.link)
        return bool(steps) and steps[-1] in self._tree.entries

    def _add_program(self, interpreter: str) -> bool:
        """Add a program by its path, or by its name in PATH; whether there is one."""
        places = [interpreter] if "/" in interpreter else [f"{folder}/{interpreter}" for folder in PATH_FOLDERS]
        return any(self.add(place) for place in places)

    def _add_library(self, library: str, why: str) -> None:
        paths = sorted(path for path in {**self._spare, **self._tree.entries} if posixpath.basename(path) == library)
        if not any(self.add(path) for path in paths):
            raise InputError(
                f"{library}, {why}, is in none of the image's packages",
                hint="Name the package that has it in `libraries`.",
            )

    def _add_linked(self) -> None:
        """Add missing libraries, until none is missing that the packages have."""
        tried: set[tuple[str, str, str]] = set()
        while True:
            self._note()
            before = len(self._tree.entries)
            for missing in self._linkage.missing():
                places = (
                    p for p in self._linkage.search_paths(missing) if (missing.file, missing.library, p) not in tried
                )
                for place in places:
                    tried.add((missing.file, missing.library, place))
                    if self.add(place):
                        break
            if len(self._tree.entries) == before:
                return

    def _note(self) -> None:
        for path in sorted(self._tree.entries.keys() - self._noted):
            self._note_entry(self._tree.entries[path])
            self._noted.add(path)

    def _note_entry(self, entry: TreeEntry) -> None:
        if not entry.member.is_file:
            self._linkage.observe_member(entry.member)
            return
        with entry.open() as content:
            member = replace(entry.member, content=content)
            close_copy(self._linkage.observe_member(member), member)

    def _add_licenses(self) -> None:
        """Add the copyright file of each package in the image, also where another package has it."""
        done: set[str] = set()
        while new := {entry.package for entry in self._tree.entries.values() if entry.package} - done:
            for package in sorted(new):
                self.add(f"{DOC_FOLDER}/{package}/copyright")
            done |= new


def _interpreters(script: TreeEntry) -> Iterator[str]:
    """The programs that a script's first line names (execve(2), "Interpreter scripts")."""
    if not script.member.is_file:
        return
    with script.open() as content:
        first = content.read(MAX_FIRST_LINE).partition(b"\n")[0]
    if first.startswith(b"#!") and (words := first[2:].decode(errors="replace").split()):
        yield words[0]
        if words[0] in ENV_PROGRAMS:
            yield from [word for word in words[1:] if not re.match(r"-|\w+=", word)][:1]


def _name_services(tree: PackageTree) -> list[str]:
    """The name services of nsswitch.conf(5) that have a library."""
    if (entry := tree.entries.get(NSSWITCH)) is None:
        return []
    lines = [line.partition("#")[0].partition(":")[2] for line in entry.read().decode(errors="replace").splitlines()]
    words = {word for line in lines for word in re.sub(r"\[.*?\]", " ", line).split()}
    return sorted(words - set(BUILT_IN_SERVICES))
