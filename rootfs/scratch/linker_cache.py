"""Write /etc/ld.so.cache, in which the dynamic linker finds libraries, as ldconfig(8) does.

The form is glibc's (sysdeps/generic/dl-cache.h: cache_file_new, file_entry_new). Own code, as ldconfig would have to be
of the image's own glibc, and run.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from tarfile import LNKTYPE

from rootfs.elf import reader
from rootfs.elf.linkage import CONF, TRIPLETS, link_chain, real_path
from rootfs.elf.reader import BrokenElf, Elf
from rootfs.tree.package_tree import PackageTree, aliases, is_link

MAGIC = b"glibc-ld.so.cache1.1"
HEADER, ENTRY = 48, 24  # bytes
ENDIAN = {1: ("<", 2), 2: (">", 3)}  # by EI_DATA: struct's sign, and cache_file_new_flags_endian_*
LIBC6 = 0x0003
# The rest of an entry's flags, by e_machine: FLAG_* in glibc's sysdeps/generic/ldconfig.h.
FLAGS = {3: 0, 21: 0x0500, 22: 0x0400, 40: 0x0900, 62: 0x0300, 183: 0x0A00, 243: 0x1000}
LIBRARY = re.compile(r"(lib.*|ld-.*)\.so(\..*)?")


@dataclass(frozen=True)
class _Entry:
    name: str
    path: str
    elf: Elf

    @property
    def order(self) -> list[tuple[int, int]]:
        """Numbers in a name count as numbers and come behind all else (_dl_cache_libcmp in glibc's dl-cache.c)."""
        parts = re.findall(r"\d+|\D", self.name)
        return [(1, int(part)) if part.isdigit() else (0, ord(part)) for part in parts]


def write_cache(tree: PackageTree, mtime: int) -> None:
    """Add the cache of the tree's libraries; none where the tree has no libraries."""
    entries = {entry.path: entry for entry in _entries(tree)}
    if entries:
        ordered = sorted((entries[path] for path in sorted(entries)), key=lambda entry: entry.order, reverse=True)
        tree.write("etc/ld.so.cache", _encode(ordered), mtime)


def _entries(tree: PackageTree) -> Iterator[_Entry]:
    links = {**{alias.path: alias.link for alias in aliases()}, **tree.links}
    names = {path: entry.member.link for path, entry in tree.entries.items() if entry.member.kind == LNKTYPE}
    folders = _folders(tree, links)
    for path, entry in tree.entries.items():
        folder, name = posixpath.split(path)
        if folder in folders and LIBRARY.fullmatch(name) and (place := real_path(path, links, names)):
            found = _library(tree, place)
            if found and found.kind[2] in FLAGS:
                known = _library_name(found, name, posixpath.basename(place) if is_link(entry) else "")
                named = known if f"{folder}/{known}" in tree.entries else name
                yield _Entry(named, f"/{folder}/{named}", found)


def _library(tree: PackageTree, path: str) -> Elf | None:
    """The ELF data of the library at a path; None where it is no library."""
    if (entry := tree.entries.get(path)) is None or not entry.member.is_file:
        return None
    with entry.open() as content:
        try:
            return reader.read(content)
        except BrokenElf:
            return None


def _library_name(found: Elf, name: str, target: str) -> str:
    """The library's own name, or the name of a link to its file (`target`), such as links for compilers."""
    own = found.soname or name
    return name if f"{target}.".startswith(f"{own}.") else own


def _folders(tree: PackageTree, links: Mapping[str, str]) -> set[str]:
    """The folders that ldconfig looks into: those of ld.so.conf, and the usual ones (aliases resolved)."""
    texts = [entry.read().decode(errors="replace") for path, entry in tree.entries.items() if CONF.fullmatch(path)]
    lines = [line.partition("#")[0].strip() for text in texts for line in text.splitlines()]
    ways = [link_chain(line, links) for line in lines if line.startswith("/")]
    usual = ("usr/lib", "usr/lib64", *(f"usr/lib/{triplet}" for triplet in TRIPLETS.values()))
    return {steps[-1] for steps in ways if steps} | set(usual)


def _encode(entries: list[_Entry]) -> bytes:
    sign, flag = ENDIAN[entries[0].elf.kind[1]]
    start = HEADER + ENTRY * len(entries)
    table, strings = b"", b""
    for entry in entries:
        name, path = start + len(strings), start + len(strings) + len(entry.name.encode()) + 1
        table += struct.pack(f"{sign}iIIIQ", LIBC6 | FLAGS[entry.elf.kind[2]], name, path, 0, 0)
        strings += entry.name.encode() + b"\0" + entry.path.encode() + b"\0"
    head = struct.pack(f"{sign}II4BI12x", len(entries), len(strings), flag, 0, 0, 0, 0)
    return MAGIC + head + table + strings
