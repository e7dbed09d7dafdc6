"""Check that a container of an image can start: its user, its folder and its program are in the tree.

The rules are those of engines: users as moby/sys/user reads them, programs as execve(2) and Go's exec.LookPath.
"""

from __future__ import annotations

import difflib
import heapq
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from tarfile import LNKTYPE, SYMTYPE

from rootfs.checks.accounts import Identity, UnknownName, identity_of
from rootfs.elf.linkage import link_chain
from rootfs.elf.machine import ARCHITECTURES, machine_of
from rootfs.elf.reader import MAGIC
from rootfs.errors import SIMILAR, nearest
from rootfs.tree.member import Member, Members, peek, read_whole
from rootfs.tree.paths import parent_folders

HEAD = 256  # bytes of a program that the kernel reads to know how to run it (BINPRM_BUF_SIZE)
LARGEST = 1 << 20  # bytes of a file of accounts
SCRIPTS = 4  # scripts that may be each other's interpreters (execve(2))
ACCOUNTS = ("etc/passwd", "etc/group")
COMPARED, LOOKED_UP, LONGEST = 1000, 10, 64  # names for a hint, and letters of one
ALSO_RUNS = {"amd64": ("i386", "x32"), "arm64": ("armhf", "armel")}  # further architectures of the same machines

Problem = tuple[str, str]  # the setting that is wrong, and why in a sentence


@dataclass(frozen=True)
class Start:
    """What a container starts with, as the image's config has it."""

    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    path: str = ""

    @property
    def program(self) -> str:
        """The program that runs; empty where the image names none."""
        return next(iter((*self.entrypoint, *self.cmd)), "")

    @property
    def named_by(self) -> str:
        """The setting that names the program."""
        return "entrypoint" if self.entrypoint else "cmd"


@dataclass(frozen=True)
class _Node:
    is_folder: bool
    mode: int
    owner: tuple[int, int]
    head: bytes | None = None  # of a file that can be run, as far as it can be looked into

    def runs_for(self, who: Identity) -> bool:
        """Whether a program may be run, or a folder searched."""
        if who.uid == 0:
            return self.is_folder or bool(self.mode & 0o111)
        shift = 6 if who.uid == self.owner[0] else 3 if self.owner[1] in who.gids else 0
        return bool(self.mode >> shift & 1)


@dataclass
class StartCheck:
    """Observes the stream of members, and knows afterwards what a container of the tree can start with."""

    _nodes: dict[str, _Node] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)  # of hard links, the path that has the content
    _texts: dict[str, str] = field(default_factory=dict)

    def observe(self, members: Members) -> Iterator[Member]:
        """Yield the same members; the check is complete when they have all passed."""
        for member in members:
            if member.path in ACCOUNTS and member.is_file and member.content and member.size <= LARGEST:
                kept, data = read_whole(member)
                self._texts[member.path] = data.decode(errors="replace")
                self._record(kept)
                yield kept
            else:
                self._record(member)
                yield member

    def _record(self, member: Member) -> None:
        if member.kind == SYMTYPE:
            self._links[member.path] = member.link
        elif member.kind == LNKTYPE:
            self._names[member.path] = member.link
        else:
            head = peek(member, HEAD) if member.content and member.mode & 0o111 else None
            head = None if member.size and not head else head
            self._nodes[member.path] = _Node(member.is_folder, member.mode, (member.uid, member.gid), head)

    def problems(self, start: Start, architecture: str) -> list[Problem]:
        """Why no container can start so; empty where it can. Without a program only user and folder are checked."""
        try:
            who = identity_of(start.user, *(self._texts.get(each, "") for each in ACCOUNTS))
        except UnknownName as unknown:
            return [("user", str(unknown))]
        found = []
        if why := self._no_folder(start.workdir):
            found.append(("workdir", why))
        if start.program and (why := _Programs(self, start, who, architecture).why_not(start.program)):
            found.append((start.named_by, why))
        return found

    def why_not(self, program: str, architecture: str) -> str:
        """Why a program cannot be run at its path, in a sentence; empty where it can."""
        return _Programs(self, Start(), Identity(0, (0,)), architecture).why_not(program)

    def _no_folder(self, path: str) -> str:
        """Why a container cannot start in a folder. Engines create it where it is missing."""
        real = self.real(path)
        for each in [*parent_folders(real), real] if real else ():
            if each in self._nodes and not self._nodes[each].is_folder:
                return f"a container cannot start in {path}: /{each} is no folder"
        return ""

    def real(self, path: str) -> str:
        """The path with all links resolved; empty for the root and for links in circles."""
        steps = link_chain(path, self._links)
        return self._names.get(steps[-1], steps[-1]) if steps else ""

    def is_link(self, path: str) -> bool:
        """Whether the last part of a path is a symbolic link."""
        folder, name = posixpath.split(path)
        return posixpath.join(self.real(folder), name) in self._links

    def node(self, path: str) -> _Node | None:
        """What is at a path, behind all links."""
        return self._nodes.get(self.real(path))

    def closed_folder(self, path: str, who: Identity) -> str:
        """The first folder on a path that a user may not search; empty where there is none."""
        folders = (each for each in parent_folders(self.real(path)) if each in self._nodes)
        return next((each for each in folders if not self._nodes[each].runs_for(who)), "")

    def hint(self, word: str, folders: list[str], who: Identity) -> str:
        """`Did you mean …?` with the program in these folders that is nearest to a word, if the user may run it.

        A tree can have any number of long names and of links: of those of similar length only some are compared, and
        only the nearest are looked up.
        """
        wanted = {self.real(folder) for folder in folders}
        places = {}
        for path in (*self._nodes, *self._links, *self._names):
            folder, _, name = path.rpartition("/")
            if folder in wanted and len(name) <= LONGEST:
                places[name] = path
        similar = heapq.nsmallest(COMPARED, places, key=lambda name: abs(len(name) - len(word)))
        close = difflib.get_close_matches(word[:LONGEST], similar, n=LOOKED_UP, cutoff=SIMILAR)
        return nearest(word[:LONGEST], [name for name in close if self._runs(places[name], who)])

    def _runs(self, path: str, who: Identity) -> bool:
        node = self.node(path)
        return bool(node and not node.is_folder and node.runs_for(who))


@dataclass(frozen=True)
class _Programs:
    """Looks up programs as a container with these settings does."""

    tree: StartCheck
    start: Start
    who: Identity
    architecture: str

    def why_not(self, program: str, depth: int = 0) -> str:
        """Why a program cannot be run, in a sentence; empty where it can. `depth` scripts lead to it."""
        if "/" in program:
            return self._why_not_file(self._absolute(program), program, depth)
        for folder in self._folders():
            place = f"{folder.rstrip('/')}/{program}"
            node = self.tree.node(place)
            if node and not node.is_folder and node.runs_for(self.who) and not self.tree.closed_folder(place, self.who):
                return self._why_not_file(place, program, depth)
        return self._not_on_path(program)

    def _not_on_path(self, program: str) -> str:
        places = [f"{folder.rstrip('/')}/{program}" for folder in self._folders()]
        if (there := next(filter(self.tree.node, places), None)) and (why := self._why_not_file(there, program)):
            return why
        hint = self.tree.hint(program, self._folders(), self.who)
        return f"there is no program {program!r} in the folders of PATH ({self.start.path}). {hint}".rstrip()

    def _folders(self) -> list[str]:
        return [self._absolute(folder or ".") for folder in self.start.path.split(":")]

    def _absolute(self, path: str) -> str:
        return posixpath.normpath(posixpath.join("/", self.start.workdir, path))

    def _why_not_file(self, path: str, shown: str, depth: int = 0) -> str:
        node = self.tree.node(path)
        if node is None:
            leads = f", which leads to /{real}," if self.tree.is_link(path) and (real := self.tree.real(path)) else ""
            hint = self.tree.hint(posixpath.basename(path), [posixpath.dirname(path), *self._folders()], self.who)
            return f"{shown!r}{leads} is not in the image. {hint}".rstrip()
        if node.is_folder:
            return f"{shown!r} is a folder, not a program"
        if closed := self.tree.closed_folder(path, self.who):
            return f"the user {self.start.user!r} may not look into /{closed}, where {shown!r} is"
        if not node.runs_for(self.who):
            who = f" for the user {self.start.user!r}" if self.start.user and node.mode & 0o111 else ""
            return f"{shown!r} is not executable{who}: its mode is {node.mode & 0o7777:04o}"
        return self._why_not_content(node.head, shown, depth)

    def _why_not_content(self, head: bytes | None, shown: str, depth: int) -> str:
        """Why the kernel cannot run a file that begins so."""
        if head is None:
            return ""
        if head.startswith(MAGIC):
            return self._why_not_elf(head, shown)
        if head.startswith(b"#!"):
            return self._why_not_script(head[2:].partition(b"\n")[0].decode(errors="replace"), shown, depth)
        return f"{shown!r} is no program: it begins neither as an ELF file nor with `#!`"

    def _why_not_elf(self, head: bytes, shown: str) -> str:
        machine = machine_of(head)
        fits = ARCHITECTURES.get(machine, ()) if machine else (self.architecture,)
        if {self.architecture, *ALSO_RUNS.get(self.architecture, ())} & {*fits}:
            return ""
        return f"{shown!r} is a program for {' or '.join(fits) or 'another machine'}, not for {self.architecture}"

    def _why_not_script(self, line: str, shown: str, depth: int) -> str:
        """Why a script with this first line, without `#!`, cannot be run."""
        words, begins = line.split(maxsplit=1), f"{shown!r} begins with `#!{line.strip()}`"
        if line.endswith("\r"):
            return f"the first line of {shown!r} ends as on Windows (CR LF): no interpreter has that name"
        if not words:
            return f"{begins}, which names no interpreter"
        if depth == SCRIPTS:
            return f"{begins}: more than {SCRIPTS} scripts are each other's interpreters"
        why = self._why_not_file(self._absolute(words[0]), words[0], depth + 1)
        if not why and posixpath.basename(words[0]) == "env" and len(words) > 1:
            why = self._why_not_env(words[1], depth + 1)
        return f"{begins}: {why}" if why else ""

    def _why_not_env(self, arguments: str, depth: int) -> str:
        """Why env(1) cannot run what a first line gives to it: one word, or several after -S."""
        if not arguments.startswith("-"):
            return self.why_not(arguments.strip(), depth)
        words = arguments.split()
        plain = [word for word in words[1:] if "=" not in word]
        return self.why_not(plain[0], depth) if words[0] == "-S" and plain and not plain[0].startswith("-") else ""
