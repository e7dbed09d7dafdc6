"""Find files of a tree that the build itself has made and that matter: private keys, and what differs each time.

What a package brings is public and the same each time: dpkg's and pip's lists say which files these are.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO

from rootfs.checks.varying import database_of, varying_state
from rootfs.tree.errors import BadTree
from rootfs.tree.key_formats import DecompressionBudget, find_private_key
from rootfs.tree.member import Member, Members, close_copy, peek, read_whole, seekable
from rootfs.tree.normalize import is_bytecode

LARGEST = 1 << 20  # bytes of a file that is looked at whole; in larger ones only private keys are looked for
HEAD = 64  # bytes that tell whether it is bytecode
LARGEST_LIST = 16 << 20  # bytes of a list of packages: ten times that of a full desktop
LARGEST_LISTS = 64 << 20  # bytes of all lists of packages: several times those of a full desktop
INFO = "var/lib/dpkg/"
CHECKSUMS = re.compile(r"var/lib/dpkg/(info|status\.d)/[^/]+\.md5sums")
STATUS = "var/lib/dpkg/status"  # has the checksums of configuration files
RECORD = re.compile(r"(?P<folder>.*/)[^/]+\.dist-info/RECORD")  # of Python packages: path, checksum and size
SCRIPT = re.compile(r"var/lib/dpkg/info/(?P<package>[^/:]+)(:[^/]+)?\.(postinst|preinst|config)")
MOST = 100_000  # candidates: several times the test keys of all packages that have many
MOST_NAMED = 50  # keys whose maker is looked for


@dataclass(frozen=True)
class Finding:
    """A file or folder by its absolute path, what it is, and who has probably made it (empty: unknown), for people."""

    path: str
    what: str
    maker: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" + (f", made by {self.maker}" if self.maker else "")


@dataclass(frozen=True)
class _Candidate:
    """A file with its checksums, by which lists of packages know it."""

    path: str
    what: str
    md5: str
    sha256: str

    def lines(self) -> Iterator[bytes]:
        """The lines by which dpkg's checksums, its status, and pip's record (with the folder) have this file.

        With merged /usr, packages may have another name for it.
        """
        for name in {self.path, self.path.removeprefix("usr/")}:
            yield f"{self.md5}  {name}".encode(errors="surrogateescape")
        yield f" /{self.path} {self.md5}".encode(errors="surrogateescape")
        yield f"{self.path},sha256={self.sha256}".encode(errors="surrogateescape")


class BuildState:
    """Observes the stream of members. `own_files` are paths that the recipe itself names."""

    def __init__(self, epoch: int, own_files: Iterable[str] = ()) -> None:
        self._epoch, self._own = epoch, {path.strip("/") for path in own_files}
        self._keys: list[_Candidate] = []
        self._varying: list[_Candidate] = []
        self._databases: dict[str, tuple[str, str]] = {}
        self._lists: list[bytes] = []
        self._records: list[tuple[bytes, bytes]] = []  # the folder that paths are relative to, and the list
        self._scripts: dict[str, bytes] = {}
        self._size = 0
        self._budget = DecompressionBudget()
        self._layer: set[str] | None = None

    def observe(self, members: Members) -> Iterator[Member]:
        """Yield the same members; the search is complete when they have all passed. Raises BadTree."""
        for member in members:
            if member.is_file and member.content and self._is_large(member):
                seen = self._look_at_large(seekable(member))
                yield seen
                close_copy(seen, member)
            else:
                yield self._look(member)

    def in_layer(self, members: Members) -> Iterator[Member]:
        """Yield the same members: those of the layer on a base image. Only these are found, not the base image's."""
        self._layer = set()
        for member in members:
            self._layer.add(member.path)
            yield member

    def private_keys(self) -> list[Finding]:
        """Private keys that no package brings, by path."""
        found = self._made(self._keys)
        makers = {each.path: self._maker(each.path) for each in found[:MOST_NAMED]}
        return [Finding(f"/{each.path}", each.what, makers.get(each.path, "")) for each in found]

    def varying(self) -> list[Finding]:
        """What probably differs in each build, by path: also the private keys, but for those of the recipe."""
        files = [each for each in self._made([*self._keys, *self._varying]) if each.path not in self._own]
        found = {each.path: each.what for each in files}
        found |= {folder: what for path, (folder, what) in self._databases.items() if self._is_in_layer(path)}
        return [Finding(f"/{path}", found[path]) for path in sorted(found)]

    def _look(self, member: Member) -> Member:
        if not member.is_file or not member.size:
            return member
        if database := database_of(f"/{member.path}"):
            folder, what = database
            self._databases[member.path] = folder.lstrip("/"), what
        if self._is_large(member):
            return member
        seen, data = read_whole(member)
        if member.path.startswith(INFO):
            self._note(member.path, data)
        elif (what := self._key(member.path, data)) and not _is_derived(member.path, data):
            self._keys.append(_candidate(member.path, what, [data]))
        elif what := varying_state(member.path, data, self._epoch):
            self._varying.append(_candidate(member.path, what, [data]))
        elif (record := RECORD.fullmatch(member.path)) and self._keep(len(data)):
            self._records.append((record["folder"].encode(errors="surrogateescape"), data))
        self._check_number()
        return seen

    def _key(self, path: str, data: bytes) -> str:
        return find_private_key(path, BytesIO(data), self._budget)

    @staticmethod
    def _is_large(member: Member) -> bool:
        return member.size > (LARGEST_LIST if member.path.startswith(INFO) else LARGEST)

    def _look_at_large(self, member: Member) -> Member:
        """Look for private keys alone. The content is read, and rewound."""
        content = member.content
        assert content is not None  # noqa: S101 - a regular file
        if _is_derived(member.path, peek(member, HEAD)):
            return member
        if what := find_private_key(member.path, content, self._budget):
            content.seek(0)
            self._keys.append(_candidate(member.path, what, iter(partial(content.read, LARGEST), b"")))
            self._check_number()
        content.seek(0)
        return member

    def _check_number(self) -> None:
        if len(self._keys) + len(self._varying) > MOST:
            raise BadTree("it has more private keys, certificates and identifiers than any system")

    def _note(self, path: str, data: bytes) -> None:
        """Note what dpkg knows of its packages."""
        if not self._keep(len(data)):
            return
        if path == STATUS or CHECKSUMS.fullmatch(path):
            self._lists.append(data)
        elif script := SCRIPT.fullmatch(path):
            self._scripts[script["package"]] = self._scripts.get(script["package"], b"") + data

    def _keep(self, size: int) -> bool:
        self._size += size
        return self._size <= LARGEST_LISTS

    def _is_in_layer(self, path: str) -> bool:
        return self._layer is None or path in self._layer

    def _made(self, candidates: Iterable[_Candidate]) -> list[_Candidate]:
        """Those that the layer has and no package brings, by path."""
        found = {each.path: each for each in candidates if self._is_in_layer(each.path)}
        lines = {line: each.path for each in found.values() for line in each.lines()}
        for line in self._listed() if lines else ():
            found.pop(lines.get(line, ""), None)
        return [found[path] for path in sorted(found)]

    def _listed(self) -> Iterator[bytes]:
        """The lines of all lists, as `_Candidate.lines` has them."""
        for text in self._lists:
            yield from (line.removesuffix(b" obsolete") for line in text.splitlines())
        for folder, record in self._records:
            yield from (folder + line.rpartition(b",")[0] for line in record.splitlines())

    def _maker(self, path: str) -> str:
        """Who has probably made a file: the recipe, or the package whose scripts say most about its path."""
        if path in self._own:
            return "`files` in the recipe"
        scores = {name: _score(name, script, path) for name, script in self._scripts.items()}
        best = min(scores, key=lambda name: (-scores[name], name), default="")
        return f"the package {best}" if best and scores[best] else ""


def _score(package: str, script: bytes, path: str) -> int:
    """How likely it is that a package's script has made the file at a path."""
    folder, name = posixpath.split(f"/{path}")
    if f"/{path}".encode(errors="surrogateescape") in script:
        return 4
    if name.encode(errors="surrogateescape") in script:
        return 3
    if re.search(rf"(^|[/_.-]){re.escape(package)}([/_.-]|$)", path):
        return 2
    return int(f"{folder}/".encode(errors="surrogateescape") in script)


def _is_derived(path: str, data: bytes) -> bool:
    """Whether it is generated from a file that is looked at itself."""
    return path.endswith(".pyc") and is_bytecode(data)


def _candidate(path: str, what: str, blocks: Iterable[bytes]) -> _Candidate:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for block in blocks:
        md5.update(block)
        sha256.update(block)
    return _Candidate(path, what, md5.hexdigest(), base64.urlsafe_b64encode(sha256.digest()).decode().rstrip("="))
