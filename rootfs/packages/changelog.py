"""Debian changelogs of debs: the entries between two versions of a package, and the CVE numbers that they name.

A deb has its source package's changelog in usr/share/doc/NAME: changelog.Debian.gz, or changelog.gz where Debian is the
upstream. A rebuild for one architecture (binNMU) adds a changelog of its own. The folder or the file can be a link to
that of another package of the same source (Debian Policy 12.3 and 12.7).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from debian_inspector.version import compare_versions

from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.lock.lock import Package
from rootfs.packages.deb import BROKEN
from rootfs.packages.deb_stream import control_fields, data_members
from rootfs.packages.errors import BadDeb
from rootfs.packages.pool import BlobStore
from rootfs.system.decompression import CHUNK, DecompressedStream, Readable

DOCS = "usr/share/doc"
HEAD = re.compile(r"(\w[-+.\w]*) \(([^() \t]{1,200})\)((?: +[-+.\w]+)+) *;(?:.*?\burgency=(\w+))?", re.ASCII)
END = re.compile(r" -- .*?>  ?(.*)")
CVE = re.compile(r"(?<![A-Za-z0-9])CVE[- ]([0-9]{4})-([0-9]{4,12})(?![0-9])", re.IGNORECASE)
REBUILD = re.compile(r"\+b[0-9]+$")  # the suffix of a binNMU's version
MAX_LINE = 16 << 10  # bytes of a line that are read
MAX_TEXT = 16 << 10  # characters of an entry's text that are kept
MAX_ENTRIES = 1000  # between two versions
MAX_SIZE = 64 << 20  # bytes of a changelog that are read


@dataclass(frozen=True)
class Entry:
    """One entry of a changelog. `package` is the source package, `date` is as written, a long `text` is cut."""

    package: str
    version: str
    distributions: str
    urgency: str
    date: str
    text: str
    cves: tuple[str, ...]


def changes(blobs: BlobStore, old: Package, new: Package, lock: Iterable[Package] = ()) -> tuple[Entry, ...]:
    """The changelog entries of `new` that are newer than `old`, newest first, from the pool.

    `lock` has the packages of the new lock, for changelogs that are in another package of the same source. There are no
    entries for an older version, for a deb without a changelog, and for one that is not in the pool or cannot be read.
    """
    if old.digest == new.digest or not _newer(new.version, old.version):
        return ()
    try:
        since = _source_version(blobs, old)
        found = _read(blobs, new, since)
        if not found.entries and (other := _linked(found.link, new, lock)):
            found = _read(blobs, other, since)
    except (BadDeb, BlobDamaged, BlobMissing):
        return ()
    return found.entries


def cves(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The CVE numbers that the entries name: sorted, each once."""
    return tuple(sorted({cve for entry in entries for cve in entry.cves}, key=_by_number))


def parse(changelog: Readable) -> Iterator[Entry]:
    """The entries of a changelog, which may be compressed. One with another form has none. Raises CorruptStream."""
    entry: _OpenEntry | None = None
    for line in _lines(DecompressedStream(changelog)):
        if head := HEAD.match(line):
            if entry:
                yield entry.closed("")
            entry = _OpenEntry(head)
        elif entry and (end := END.match(line)):
            yield entry.closed(end[1].strip())
            entry = None
        elif entry:
            entry.add(line)
    if entry:
        yield entry.closed("")


@dataclass(frozen=True)
class _Changelog:
    """The entries that were asked for; or the package whose folder has them."""

    entries: tuple[Entry, ...] = ()
    link: str = ""


def _read(blobs: BlobStore, package: Package, since: str) -> _Changelog:
    """The entries of a deb's changelogs down to a version, those of a binNMU first."""
    folder, link, inside = f"{DOCS}/{package.name}", "", False
    found = dict[str, tuple[Entry, ...]]()
    files = {f"{folder}/{name}{end}": name for name in _names(package) for end in ("", ".gz")}
    with blobs.open_blob(package.digest) as deb:
        for member in data_members(deb, package.file_name):
            in_folder = member.path == folder or member.path.startswith(f"{folder}/")
            if inside and not in_folder and "changelog.Debian" in found:
                break  # the files of a folder are together; links come last in a deb
            inside = in_folder
            if member.path == folder and member.link:
                return _Changelog(link=_package_of(posixpath.join(DOCS, member.link)))
            if name := files.get(member.path):
                if member.content:
                    found[name] = _until(member.content, since, package)
                elif name == "changelog.Debian" or not link:
                    link = _package_of(posixpath.join(folder, member.link))
    debian, native, *rebuilds = (found.get(name) for name in _names(package))
    main = native if debian is None and not link else debian
    return _Changelog((*(entry for each in rebuilds for entry in each or ()), *(main or ())), link)


def _names(package: Package) -> tuple[str, ...]:
    """The names of changelogs: of the source package, of a native one, and of a binNMU of each."""
    rebuilds = (f"changelog{part}.{package.architecture}" for part in (".Debian", ""))
    return ("changelog.Debian", "changelog", *rebuilds)


def _until(content: Readable, since: str, package: Package) -> tuple[Entry, ...]:
    """The entries from the newest one to the one after `since`.

    A version above may be greater than the package's: 1.0-2 is, below 1.0-2~deb12u1.
    """
    entries = list[Entry]()
    try:
        for entry in takewhile(lambda entry: _newer(entry.version, since), parse(content)):
            entries.append(entry)
            if len(entries) == MAX_ENTRIES:
                break
    except BROKEN as error:
        raise BadDeb(package.file_name, f"its changelog: {error}") from error
    return tuple(entries)


def _linked(link: str, package: Package, lock: Iterable[Package]) -> Package | None:
    """The package that a link leads to, if it is of the same source."""
    return next((each for each in lock if each.name == link and each.source == package.source), None)


def _package_of(path: str) -> str:
    """The package in whose folder of documents a path is; empty if it is in none."""
    folder, _, rest = posixpath.normpath(path).removeprefix("/").partition(f"{DOCS}/")
    return "" if folder else rest.partition("/")[0]


def _source_version(blobs: BlobStore, package: Package) -> str:
    """The version as changelogs have it: the source package's can be another than the package's, as lvm2's is."""
    try:
        with blobs.open_blob(package.digest) as deb:
            source = control_fields(deb, package.file_name).get("source", "")
    except (BlobMissing, BlobDamaged):  # an old one may have been removed
        return package.version
    if not (version := source.partition("(")[2].partition(")")[0].strip()):
        return package.version
    rebuild = REBUILD.search(package.version)
    return version + (rebuild[0] if rebuild else "")


def _newer(version: str, other: str) -> bool:
    try:
        return bool(compare_versions(version, other) > 0)
    except ValueError:  # not a version, which very old entries have
        return False


class _OpenEntry:
    """An entry while its lines are read."""

    def __init__(self, head: re.Match[str]) -> None:
        self._head, self._lines, self._size = head, list[str](), 0
        self._cves = set[str]()

    def add(self, line: str) -> None:
        self._cves.update(f"CVE-{found[1]}-{found[2]}" for found in CVE.finditer(line))
        self._size += len(line) + 1
        if self._size <= MAX_TEXT:
            self._lines.append(line)

    def closed(self, date: str) -> Entry:
        package, version, distributions, urgency = self._head.groups(default="")
        text = "\n".join(self._lines).strip("\n")
        numbers = tuple(sorted(self._cves, key=_by_number))
        return Entry(package, version, distributions.strip(), urgency, date, text, numbers)


def _by_number(cve: str) -> tuple[int, int]:
    _, year, number = cve.split("-")
    return int(year), int(number)


def _lines(stream: Readable) -> Iterator[str]:
    """The lines of a text, each cut at MAX_LINE, up to MAX_SIZE bytes."""
    rest, size = b"", 0
    while size < MAX_SIZE and (data := stream.read(CHUNK)):
        size += len(data)
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[:MAX_LINE]
        yield from (line[:MAX_LINE].decode(errors="replace").rstrip() for line in lines)
    if rest:
        yield rest.decode(errors="replace").rstrip()
