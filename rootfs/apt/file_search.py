"""Find packages by the names of files in them. apt fetches the archives' Contents indexes, which are large."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from rootfs.apt.root import AptRoot
from rootfs.process.errors import ProgramTimedOut
from rootfs.process.run import Log, stream

NAME = "Contents-files"
TIMEOUT = 300.0  # seconds: the indexes only improve the hint of an error
# As apt-file(1) has them; Ubuntu's are not below a component.
INDEXES = {
    "MetaKey": "$(COMPONENT)/Contents-$(ARCHITECTURE)",
    "flatMetaKey": "Contents-$(ARCHITECTURE)",
    "ShortDescription": NAME,
    "Description": "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents",
    "KeepCompressed": "true",
    "Optional": "true",
    "DefaultEnabled": "true",
}
# Folders where programs, the dynamic linker and the kernel look; each library has its own in those of its architecture.
USUAL = re.compile(r"(usr/)?(s?bin|lib(/[a-z0-9_]+-linux-gnu[a-z0-9]*)?)")
CHUNK = 1 << 20
CAT = "/usr/lib/apt/apt-helper"


def packages_with_files(root: AptRoot, names: Iterable[str], log: Log) -> dict[str, str]:
    """Find the package that has a file of each name. Names that are not found are left out.

    A package with the file where programs look for it is preferred to one named after the library, and that to one with
    the file in another folder. If an archive has no valid Contents index, only the names of libraries are known.
    """
    file_names = sorted({name.rpartition("/")[2] for name in names})
    options = [f"-oAcquire::IndexTargets::deb::{NAME}::{key}={value}" for key, value in INDEXES.items()]
    for more in ((), options):  # if a check fails, apt keeps the old files of all indexes
        with contextlib.suppress(ProgramTimedOut):
            root.run("apt-get", "update", "-q", *more, check=False, log=log, timeout=TIMEOUT)
    package_names = frozenset(root.run("apt-cache", "pkgnames").stdout.split())
    found: dict[str, set[tuple[int, str]]] = {
        name: {(1, package)} for name in file_names if (package := _package_by_library_name(name, package_names))
    }
    for folder, name, package in _files_in_indexes(root, file_names):
        rank = 0 if USUAL.fullmatch(folder) else 2
        found.setdefault(name, set()).add((rank, package))
    return {name: min(candidates)[1] for name, candidates in found.items()}


def _files_in_indexes(root: AptRoot, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Folder, name and package of each file with one of these names, from the Contents indexes."""
    pattern = "|".join(map(re.escape, names))
    line = re.compile(rf"^(?:(\S*)/)?({pattern})[ \t]+(\S+)$".encode(errors="surrogateescape"), re.MULTILINE)
    for index in sorted(root.lists.glob("*Contents-*")):
        with stream([CAT, "cat-file", index]) as text:
            for lines in _lines(text):
                for words in line.findall(lines):
                    folder, name, packages = (word.decode(errors="surrogateescape") for word in words)
                    yield folder, name, packages.split(",")[0].rpartition("/")[2]


def _package_by_library_name(library: str, packages: frozenset[str]) -> str:
    """The package of a library by Debian's naming rule (policy, 8.1): libssl.so.3 is in libssl3."""
    stem, found, version = library.partition(".so.")
    if not found:
        return ""
    name = f"{stem}-{version}" if stem[-1:].isdigit() else f"{stem}{version}"
    plain = name.lower().replace("_", "-")
    return next((each for each in (f"{plain}t64", plain) if each in packages), "")


def _lines(text: IO[bytes]) -> Iterator[bytes]:
    """Chunks of the text that end at the end of a line."""
    rest = b""
    while data := text.read(CHUNK):
        complete, _, rest = (rest + data).rpartition(b"\n")
        yield complete
    yield rest
