"""What an image's files need of packages that are not in it: libraries, interpreters, licences; no more is taken."""

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
    """Fills `tree` out of the pieces of `debs` that are not in it yet; of those that are `whole` it lacks nothing but
    the link that a folder of documentation may be. `cached` where the linker's cache will be in the tree.
    """

    def __init__(
        self, tree: PackageTree, debs: UnpackedPackages, whole: set[str], library_path: str, *, cached: bool
    ) -> None:
        self._tree = tree
        self._spare = {
            path: piece
            for name in sorted(debs)
            for path, piece in debs[name].tree.pieces.items()
            if not piece.member.is_folder and (name not in whole or path == f"{DOC_FOLDER}/{name}")
        }
        links = {path: piece.member.link for path, piece in self._spare.items() if is_link(piece)}
        self._links = ChainMap(tree.links, links, {alias.path: alias.link for alias in aliases()})
        self._closure = LinkageCheck(library_path)
        for alias in aliases():
            self._closure.observe_member(alias)
        if cached:
            self._closure.observe_member(Member(CACHE).with_content(b"to be written"))
        self._noted: set[str] = set()

    def fill(self, opened: Iterable[str], scripts: Iterable[TreeEntry]) -> None:
        """Take what `opened` names, interpreters of `scripts`, name services, all that those are linked with, and the
        licences. Raises InputError.
        """
        for script in scripts:
            for interpreter in _interpreters(script):
                if not self._has(interpreter):
                    raise InputError(
                        f"/{script.path} is a script for {interpreter}, which the image lacks",
                        hint="Name its package in `packages`, or the script in `unlinked` if nothing runs it.",
                    )
        for library in opened:
            self._open(library, "named in `opened`")
        self._link()
        if any(piece.path.endswith("/libc.so.6") for piece in self._tree.pieces.values()):
            for service in _name_services(self._tree):
                self._open(f"libnss_{service}.so.2", f"for {service} in /{NSSWITCH}")
        self._link()
        self._licences()

    def take(self, path: str) -> bool:
        """Take a file, and the links on the way to it; whether it is in the tree now."""
        steps = link_chain(path, self._links)
        for step in steps:
            if step not in self._tree.pieces and step in self._spare:
                self._tree.add(self._spare[step])
                if self._spare[step].member.kind == LNKTYPE:
                    self.take(self._spare[step].member.link)
        return bool(steps) and steps[-1] in self._tree.pieces

    def _has(self, interpreter: str) -> bool:
        """Whether there is such a program: a path, or the name of one in PATH."""
        places = [interpreter] if "/" in interpreter else [f"{folder}/{interpreter}" for folder in PATH_FOLDERS]
        return any(self.take(place) for place in places)

    def _open(self, library: str, why: str) -> None:
        paths = sorted(path for path in {**self._spare, **self._tree.pieces} if posixpath.basename(path) == library)
        if not any(self.take(path) for path in paths):
            raise InputError(
                f"{library}, {why}, is in none of the image's packages",
                hint="Name the package that has it in `libraries`.",
            )

    def _link(self) -> None:
        """Take what is missing until nothing that can be had is missing any more."""
        tried: set[tuple[str, str, str]] = set()
        while True:
            self._note()
            before = len(self._tree.pieces)
            for missing in self._closure.missing():
                places = (
                    p for p in self._closure.search_paths(missing) if (missing.file, missing.library, p) not in tried
                )
                for place in places:
                    tried.add((missing.file, missing.library, place))
                    if self.take(place):
                        break
            if len(self._tree.pieces) == before:
                return

    def _note(self) -> None:
        for path in sorted(self._tree.pieces.keys() - self._noted):
            self._note_piece(self._tree.pieces[path])
            self._noted.add(path)

    def _note_piece(self, piece: TreeEntry) -> None:
        if not piece.member.is_file:
            self._closure.observe_member(piece.member)
            return
        with piece.open() as content:
            member = replace(piece.member, content=content)
            close_copy(self._closure.observe_member(member), member)

    def _licences(self) -> None:
        """The copyright file of each package that something was taken of, also where another package has it."""
        done: set[str] = set()
        while new := {piece.package for piece in self._tree.pieces.values() if piece.package} - done:
            for package in sorted(new):
                self.take(f"{DOC_FOLDER}/{package}/copyright")
            done |= new


def _interpreters(script: TreeEntry) -> Iterator[str]:
    """The programs that a script's first line asks for, if it has one (execve(2), "Interpreter scripts")."""
    if not script.member.is_file:
        return
    with script.open() as content:
        first = content.read(MAX_FIRST_LINE).partition(b"\n")[0]
    if first.startswith(b"#!") and (words := first[2:].decode(errors="replace").split()):
        yield words[0]
        if words[0] in ENV_PROGRAMS:
            yield from [word for word in words[1:] if not re.match(r"-|\w+=", word)][:1]


def _name_services(tree: PackageTree) -> list[str]:
    """The name services that are asked (nsswitch.conf(5)) and have a library."""
    if (piece := tree.pieces.get(NSSWITCH)) is None:
        return []
    lines = [line.partition("#")[0].partition(":")[2] for line in piece.read().decode(errors="replace").splitlines()]
    words = {word for line in lines for word in re.sub(r"\[.*?\]", " ", line).split()}
    return sorted(words - set(BUILT_IN_SERVICES))
