"""Hostile and broken archives, and the expected result for each.

`python -m tests.support.hostile FOLDER` writes them to files, to be tried on anything else.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

BLOCK = 512
END = bytes(2 * BLOCK)
POSIX, GNU = b"ustar\x0000", b"ustar  \0"


def header(
    name: bytes = b"f",
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = POSIX,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    at: Mapping[int, bytes] = {},
    checksum: bytes | None = None,
) -> bytes:
    """One header; numbers in octal, or as they are given; `at` overwrites bytes anywhere."""
    fields = [name.ljust(100, b"\0"), *(_number(value, 8) for value in (mode, uid, gid))]
    fields += [_number(size, 12), _number(mtime, 12), b" " * 8, kind, link.ljust(100, b"\0"), magic, bytes(64)]
    fields += [*(_number(value, 8) for value in device), prefix.ljust(155, b"\0"), bytes(12)]
    block = bytearray(b"".join(fields))
    for place, data in at.items():
        block[place : place + len(data)] = data
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    return bytes(block)


def _number(value: int | bytes, width: int) -> bytes:
    return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """A number as GNU tar writes those that do not fit."""
    return bytes([0x80]) + value.to_bytes(width - 1, "big") if value >= 0 else value.to_bytes(width, "big", signed=True)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes = b"f", data: bytes = b"x", **more: Any) -> bytes:
    return header(name, size=len(data), **more) + padded(data)


def folder(name: bytes = b"d/", **more: Any) -> bytes:
    return header(name, b"5", **{"mode": 0o755, **more})


def symlink(name: bytes, link: bytes, **more: Any) -> bytes:
    return header(name, b"2", link=link, mode=0o777, **more)


def hardlink(name: bytes, link: bytes, **more: Any) -> bytes:
    return header(name, b"1", link=link, **more)


def record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length += len(str(length)) > len(str(rest))
    return b"%d %s=%s\n" % (length, key, value)


def pax(*said: tuple[bytes, bytes], kind: bytes = b"x", raw: bytes | None = None) -> bytes:
    body = b"".join(record(key, value) for key, value in said) if raw is None else raw
    return header(b"PaxHeaders/f", kind, len(body)) + padded(body)


def long(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind, len(name) + 1, magic=GNU) + padded(name + b"\0")


def sparse_old(pieces: list[tuple[int, int]], size: int, data: bytes, **at: bytes) -> bytes:
    """A sparse file as GNU tar's old format has it: four pieces in the header, 21 in each block behind it."""
    packed = [b"%011o\0%011o\0" % piece for piece in pieces]
    first, rest = b"".join(packed[:4]), packed[4:]
    more = {386: first, 482: bytes([bool(rest)]), 483: b"%011o\0" % size}
    blocks = b""
    while rest:
        now, rest = rest[:21], rest[21:]
        blocks += (b"".join(now).ljust(504, b"\0") + bytes([bool(rest)])).ljust(BLOCK, b"\0")
    return header(b"hole", b"S", len(data), magic=GNU, at=more) + blocks + padded(data)


def sparse_pax(pieces: list[tuple[int, int]], size: int, data: bytes, version: str) -> bytes:
    """The same as the pax formats 0.0, 0.1 and 1.0 have it."""
    said = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(pieces))]
    name = b"GNUSparseFile.1/hole"
    if version == "0.0":
        pairs = [
            ((b"GNU.sparse.offset", b"%d" % start), (b"GNU.sparse.numbytes", b"%d" % count)) for start, count in pieces
        ]
        return pax(*said, *(each for pair in pairs for each in pair)) + file(b"hole", data)
    flat = [b"%d" % number for piece in pieces for number in piece]
    if version == "0.1":
        said += [(b"GNU.sparse.map", b",".join(flat)), (b"GNU.sparse.name", b"hole")]
        return pax(*said) + file(name, data)
    plan = padded(b"\n".join([b"%d" % len(pieces), *flat, b""]))
    said = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"hole")]
    return pax(*said, (b"GNU.sparse.realsize", b"%d" % size)) + file(name, plan + data)


@dataclass(frozen=True)
class Case:
    """One archive: `refused` is what the refusal says; else `tree` has what becomes of it, by path.

    A file is its content, a folder None, a symbolic link `-> TARGET`, a hard link `= PATH`. `keys` are further ones of
    the recipe.
    """

    name: str
    data: bytes
    refused: str = ""
    tree: Mapping[str, bytes | str | None] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service+ep
ODD = b"caf\xe9-\xff"
DEEP = b"/".join([b"d" * 200] * 30)
PIECES = [(0, 512), (4096, 512), (8192, 100)]
STORED = b"a" * 512 + b"b" * 512 + b"c" * 100
HOLES = b"a" * 512 + bytes(4096 - 512) + b"b" * 512 + bytes(8192 - 4096 - 512) + b"c" * 100
MANY = [(number * 1024, 10) for number in range(40)]
MANY_STORED = b"".join(b"%010d" % number for number in range(40))
MANY_HOLES = b"".join((b"%010d" % number).ljust(1024, b"\0") for number in range(39)) + b"%010d" % 39

NAMES = [
    Case("absolute", file(b"/etc/x") + END, tree={"etc": None, "etc/x": b"x"}),
    Case("absolute-folder", folder(b"///d/") + END, tree={"d": None}),
    Case("up", file(b"../x") + END, "leads out"),
    Case("up-inside", file(b"a/../../x") + END, "leads out"),
    Case("up-and-down", file(b"a/../b") + END, "leads out"),
    Case("up-in-pax", pax((b"path", b"../../x")) + file() + END, "leads out"),
    Case("up-in-long-name", long(b"../" * 60 + b"x") + file() + END, "leads out"),
    Case("up-in-prefix", file(b"x", prefix=b"..") + END, "leads out"),
    Case("root-again", folder(b"./") + folder(b".", mode=0o700) + folder(b"/") + file(b"./f") + END, tree={"f": b"x"}),
    Case("root-is-a-file", file(b"./.") + END, "is the root"),
    Case("root-is-a-link", symlink(b".", b"/tmp") + END, "is the root"),
    Case("empty-name", file(b"") + END, "is no name"),
    Case("nul-in-name", pax((b"path", b"a\0b")) + file() + END, "is no name"),
    Case("newline-in-name", file(b"a\nb\x1b[31m") + END, tree={"a\nb\x1b[31m": b"x"}),
    Case("not-utf8", file(ODD) + END, tree={ODD.decode(errors="surrogateescape"): b"x"}),
    Case("not-utf8-in-pax", pax((b"path", ODD)) + file() + END, tree={ODD.decode(errors="surrogateescape"): b"x"}),
    Case("long-component", pax((b"path", b"n" * 256)) + file() + END, "longer than any name"),
    Case("long-path", pax((b"path", DEEP)) + file() + END, "longer than any name"),
    Case("times-in-prefix", file(b"f", prefix=b"14714350463\0", magic=GNU) + END, tree={"f": b"x"}),
    Case("whiteout", file(b"etc/.wh.passwd", b"") + END, "removes another file"),
    Case("opaque-whiteout", file(b"etc/.wh..wh..opq", b"") + END, "removes another file"),
    Case("below-a-whiteout", file(b".wh.d/f") + END, "removes another file"),
    Case("left-out", file(b".wh.d/f") + file(b"g") + END, tree={"g": b"x"}, keys={"leave_out": ["/.wh.*"]}),
]
LINKS = [
    Case("link-out", symlink(b"l", b"../../../etc/passwd") + END, tree={"l": "-> ../../../etc/passwd"}),
    Case("absolute-link", symlink(b"l", b"/etc/passwd") + END, tree={"l": "-> /etc/passwd"}),
    Case("through-a-link", symlink(b"a", b"/etc") + file(b"a/passwd") + END, "which is no folder"),
    Case("through-a-later-link", file(b"a/passwd") + symlink(b"a", b"/etc") + END, "which is no folder"),
    Case("through-a-link-deep", symlink(b"a", b"/") + file(b"a/b/c/d") + END, "which is no folder"),
    Case("below-a-file", file(b"a") + file(b"a/b") + END, "which is no folder"),
    Case("folder-becomes-link", folder(b"a/") + symlink(b"a", b"/etc") + file(b"a/passwd") + END, "there twice"),
    Case("link-to-nowhere", symlink(b"l", b"") + END, "no name"),
    Case("link-with-nul", pax((b"linkpath", b"a\0b")) + symlink(b"l", b"x") + END, "no name"),
    Case("hard-link-out", hardlink(b"l", b"../../etc/passwd") + END, "leads out"),
    Case("hard-link-absolute", hardlink(b"l", b"/etc/passwd") + END, "not there"),
    Case("hard-link-to-nothing", hardlink(b"l", b"x") + END, "not there"),
    Case("hard-link-to-itself", hardlink(b"l", b"l") + END, "in a circle"),
    Case("hard-links-in-a-circle", hardlink(b"a", b"b") + hardlink(b"b", b"a") + END, "in a circle"),
    Case("hard-link-to-a-folder", folder(b"d/") + hardlink(b"l", b"d") + END, "which is a folder"),
    Case("hard-link-to-later", hardlink(b"z", b"b") + file(b"b") + END, tree={"b": b"x", "z": "= b"}),
    Case("hard-link-before-its-file", file(b"z") + hardlink(b"a", b"z") + END, tree={"a": b"x", "z": "= a"}),
    Case(
        "hard-links-to-hard-links",
        hardlink(b"c", b"b") + hardlink(b"b", b"z") + file(b"z", b"zz") + END,
        tree={"b": b"zz", "c": "= b", "z": "= b"},
    ),
    Case(
        "hard-link-to-a-link",
        symlink(b"s", b"/etc") + hardlink(b"l", b"s") + END,
        tree={"l": "-> /etc", "s": "-> /etc"},
    ),
    Case("hard-link-with-content", file(b"f") + header(b"l", b"1", 1, link=b"f") + padded(b"y") + END, "has a content"),
    Case("hard-link-and-its-file-again", file(b"f") + hardlink(b"l", b"f") + file(b"f", b"y") + END, "there twice"),
]
KINDS = [
    Case("device", header(b"dev/sda", b"4", device=(8, 0)) + END, "it has no files"),
    Case("device-elsewhere", header(b"etc/passwd", b"3", device=(1, 3)) + END, "is a device"),
    Case(
        "device-wanted-and-wrong", header(b"dev/null", b"3", device=(1, 1)) + END, "is a device", keys={"devices": True}
    ),
    Case("block-device-wanted", header(b"dev/null", b"4", device=(1, 3)) + END, "is a device", keys={"devices": True}),
    Case(
        "devices-wanted",
        header(b"dev/null", b"3", mode=0o4666, device=(1, 3)) + header(b"dev/sda", b"4", device=(8, 0)) + END,
        tree={"dev": None, "dev/null": "1:3"},
        keys={"devices": True},
    ),
    Case("pipe", header(b"p", b"6") + file() + END, tree={"f": b"x"}),
    Case("unknown-type", header(b"f", b"Z") + END, "not known here"),
    Case("part-of-another-archive", header(b"f", b"M", 1) + padded(b"x") + END, "not known here"),
    Case("folder-with-content", header(b"d/", b"5", 4) + padded(b"data") + END, "has a content"),
    Case("old-folder", header(b"d/", b"\0", magic=bytes(8)) + file(b"d/f") + END, tree={"d": None, "d/f": b"x"}),
    Case("label", header(b"a label", b"V", magic=GNU) + file() + END, tree={"f": b"x"}),
    Case("set-uid", file(b"su", mode=0o4755) + END, "1 files in it are set-uid"),
    Case("set-gid", file(b"su", mode=0o2755) + END, "1 files in it are set-uid"),
    Case("set-uid-twin", file(b"su", mode=0o4755) + hardlink(b"us", b"su") + END, "/us", keys={"setuid": ["/su"]}),
    Case("set-uid-listed", file(b"su", mode=0o4755) + END, tree={"su": b"x"}, keys={"setuid": ["/su"]}),
    Case("set-gid-folder", folder(b"d/", mode=0o2775) + END, tree={"d": None}),
    Case("twice", file() + file(b"./f", b"other") + END, "is there twice"),
    Case("file-and-folder", file(b"a") + folder(b"a/") + END, "is there twice"),
    Case("folder-twice", folder(mode=0o700) + folder() + END, tree={"d": None}),
]
NUMBERS = [
    Case("nobody", file(uid=base256((1 << 32) - 1, 8)) + END, "no owner"),
    Case("negative-owner", file(uid=base256(-2, 8)) + END, "no owner"),
    Case("huge-owner", pax((b"gid", b"9" * 19)) + file() + END, "no owner"),
    Case("large-owner", file(uid=base256(4_000_000_000, 8)) + END, tree={"f": b"x"}),
    Case("negative-size", header(size=base256(-1, 12)) + END, "of -1 bytes"),
    Case("negative-time", file(mtime=base256(-(1 << 40), 12)) + END, tree={"f": b"x"}),
    Case("far-future", file(mtime=base256(1 << 60, 12)) + END, tree={"f": b"x"}),
    Case("time-with-fraction", pax((b"mtime", b"-12.75")) + file() + END, tree={"f": b"x"}),
    Case("time-without-end", pax((b"mtime", b"1e999")) + file() + END, "no readable mtime"),
    Case("no-number", pax((b"uid", b"root")) + file() + END, "no readable uid"),
    Case("number-out-of-octal", file(mode=b"rwxr-x") + END, "it is no tar archive"),
    Case("two-sizes", pax((b"size", b"1024")) + header(size=1) + padded(b"x" * 1024) + END, "two sizes"),
    Case("size-in-pax", pax((b"size", b"600")) + header(size=0) + padded(b"x" * 600) + END, tree={"f": b"x" * 600}),
    Case("larger-than-all", pax((b"size", b"9" * 15)) + header(size=0) + END, "unpacks to more"),
    Case(
        "sizes-together",
        file(b"a", b"x" * 600) + file(b"b", b"x" * 600) + END,
        "more than 2000",
        keys={"largest": 2000},
    ),
    Case("too-many", b"".join(file(b"%d" % n, b"") for n in range(6)) + END, "more than 5 members", keys={"most": 5}),
    Case("too-many-folders", file(b"/".join([b"d"] * 9)) + END, "more than 5 members", keys={"most": 5}),
    Case(
        "long-names",
        b"".join(pax((b"path", b"%d/" % n + b"/".join([b"n" * 255] * 15))) + file(data=b"") for n in range(300)) + END,
        "its names take",
        keys={"most": 5000},
    ),
]
HEADERS = [
    Case("huge-pax", header(b"x", b"x", 1 << 32) + b"17 comment=filler\n" * 100, "extended headers"),
    Case("huge-long-name", header(b"x", b"L", base256(1 << 40, 12), magic=GNU) + b"n" * 4096, "extended headers"),
    Case("endless-long-names", long(b"a") * 50 + file() + END, "two of one kind"),
    Case("endless-pax", pax((b"path", b"a")) * 50 + file() + END, "two of one kind"),
    Case("pax-without-member", file() + pax((b"path", b"a")) + END, "without the member"),
    Case("pax-length-too-long", pax(raw=b"99 path=a\n") + file() + END, "broken pax header"),
    Case("pax-length-too-short", pax(raw=b"3 path=a\n") + file() + END, "broken pax header"),
    Case("pax-length-nothing", pax(raw=b"0 path=a\n") + file() + END, "broken pax header"),
    Case("pax-no-value", pax(raw=b"7 path\n") + file() + END, "broken pax header"),
    Case("pax-no-newline", pax(raw=b"10 path=abc") + file() + END, "broken pax header"),
    Case("pax-for-all", pax((b"path", b"a"), kind=b"g") + file() + END, "for all members"),
    Case("size-for-all", pax((b"size", b"0"), kind=b"g") + file() + END, "for all members"),
    Case("comment-for-all", pax((b"comment", b"a"), kind=b"g") + file() + END, tree={"f": b"x"}),
    Case("two-names", pax((b"path", b"a")) + long(b"b") + file() + END, "two names"),
    Case("name-taken-back", pax((b"path", b"a"), (b"path", b"")) + file() + END, tree={"f": b"x"}),
    Case("bad-checksum", file(b"a") + file(b"b", checksum=b"000001\0 ") + END, "header of its member 2 is broken"),
    Case("xattr", pax((b"SCHILY.xattr.security.capability", CAPABILITY)) + file() + END, tree={"f": b"x"}),
    Case(
        "xattr-in-base64", pax((b"LIBARCHIVE.xattr.user.%25", base64.b64encode(b"v"))) + file() + END, tree={"f": b"x"}
    ),
    Case("xattr-no-base64", pax((b"LIBARCHIVE.xattr.user.a", b"\xff\n")) + file() + END, "no base64"),
    Case(
        "xattr-of-overlay",
        pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + folder() + END,
        "trusted.overlay.opaque",
    ),
    Case("xattr-of-nowhere", pax((b"SCHILY.xattr.com.example", b"y")) + file() + END, "com.example"),
    Case("xattr-too-long", pax((b"SCHILY.xattr.user.a", b"y" * 70_000)) + file() + END, "user.a"),
]
SPARSE = [
    Case("sparse-old", sparse_old(PIECES, len(HOLES), STORED) + END, tree={"hole": HOLES}),
    Case("sparse-old-many", sparse_old(MANY, len(MANY_HOLES), MANY_STORED) + END, tree={"hole": MANY_HOLES}),
    Case("sparse-old-endless", sparse_old([(n, 0) for n in range(70_000)], 1, b"") + END, "does not end"),
    *(
        Case(f"sparse-{v}", sparse_pax(PIECES, len(HOLES), STORED, v) + END, tree={"hole": HOLES})
        for v in ("0.0", "0.1", "1.0")
    ),
    *(
        Case(f"sparse-{v}-huge", sparse_pax([(1 << 45, 1)], (1 << 45) + 1, b"x", v) + END, "unpacks to more")
        for v in ("0.1", "1.0")
    ),
    Case("sparse-old-huge", sparse_old([((1 << 33) - 1, 1)], (1 << 33) - 1, b"x") + END, "another size"),
    Case("sparse-back", sparse_pax([(4096, 512), (0, 512)], 8192, STORED[:1024], "0.1") + END, "goes back"),
    Case("sparse-over", sparse_pax([(0, 512), (4096, 512)], 1024, STORED[:1024], "0.1") + END, "another size"),
    Case("sparse-short", sparse_pax([(0, 512), (4096, 999)], 8192, STORED[:1024], "1.0") + END, "another size"),
    Case("sparse-odd", pax((b"GNU.sparse.map", b"0,1,2"), (b"GNU.sparse.size", b"9")) + file() + END, "pairs"),
    Case("sparse-no-numbers", sparse_pax([(0, 1)], 1, b"x", "0.1").replace(b"map=0,1", b"map=0,z") + END, "is none"),
    Case(
        "sparse-map-without-end",
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")) + file(b"f", b"9" * 600) + END,
        "no list of numbers",
    ),
    Case("sparse-of-star", pax((b"SCHILY.realsize", b"9")) + file() + END, "not known here"),
]
WHOLE = file(b"a") + file(b"b", b"y" * 1000) + END
ENDS = [
    Case("nothing", b"", "it is empty"),
    Case("only-an-end", END, "it has no files"),
    Case("no-tar", b"#!/bin/sh\n" * 100, "it is no tar archive"),
    Case("short-no-tar", b"hello", "it is no tar archive"),
    Case("cut-in-content", WHOLE[:1600], "ends early"),
    Case("cut-in-header", WHOLE[:1100], "ends early"),
    Case("cut-in-padding", WHOLE[: 512 * 4 - 10], "ends early"),
    Case("cut-before-the-end", WHOLE[:-1024], "ends early"),
    Case("one-empty-block", WHOLE[:-512], tree={"a": b"x", "b": b"y" * 1000}),
    Case("garbage-behind", WHOLE + b"garbage", "something follows"),
    Case("two-archives", WHOLE + WHOLE, "something follows"),
    Case("behind-an-empty-block", file(b"a") + bytes(512) + file(b"b") + END, "something follows"),
]
PACKED = [
    Case("gz-cut", gzip.compress(WHOLE)[:-20], "gzip data are broken"),
    Case("gz-garbage", gzip.compress(WHOLE) + b"garbage", "gzip data are broken"),
    Case("gz-wrong-checksum", gzip.compress(WHOLE)[:-8] + bytes(8), "gzip data are broken"),
    Case("bz2-cut", bz2.compress(WHOLE)[:-20], "bzip2 data are broken"),
    Case("bz2-garbage", bz2.compress(WHOLE) + b"garbage", "bzip2 data are broken"),
    Case("xz-cut", lzma.compress(WHOLE)[:-20], "xz data are broken"),
    Case("xz-garbage", lzma.compress(WHOLE) + b"garbage", "xz data are broken"),
    Case("zst-cut", zstandard.compress(WHOLE)[:-20], "nothing comes out"),
    Case("zst-garbage", zstandard.compress(WHOLE) + b"garbage", "zstd data are broken"),
    Case("packed-twice", gzip.compress(lzma.compress(WHOLE)), "it is no tar archive"),
]
CASES = [*NAMES, *LINKS, *KINDS, *NUMBERS, *HEADERS, *SPARSE, *ENDS, *PACKED]


def _zeros(count: int) -> bytes:
    """The beginning of an archive with a file of zeros, and so many MiB of them."""
    return header(b"zeros", size=0o77777777777) + bytes(count << 20)


def _xz() -> bytes:
    squeezed = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28, "preset": 0}])
    return squeezed.compress(_zeros(1)) + squeezed.flush()


def _zst() -> bytes:
    window = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    far = zstandard.ZstdCompressor(compression_params=window).compressobj()
    return far.compress(_zeros(1)) + far.flush()


# Archives of little size that unpack to much, or make a careless reader hold much; some take a second to make.
BOMBS: dict[str, Callable[[int], bytes]] = {
    "gz": lambda megabytes: gzip.compress(_zeros(megabytes), 9),
    "bz2": lambda megabytes: bz2.compress(_zeros(megabytes)),
    "zst": lambda megabytes: zstandard.ZstdCompressor(level=19).compress(_zeros(megabytes)),
    "xz-dictionary": lambda _: _xz(),
    "zst-window": lambda _: _zst(),
}
LARGE = 256  # megabytes that a bomb unpacks to, where its reader's memory is measured


def write(to: Path) -> None:
    """Write every archive to a file of its own."""
    to.mkdir(parents=True, exist_ok=True)
    for name, data in [
        *((case.name, case.data) for case in CASES),
        *((name, make(LARGE)) for name, make in BOMBS.items()),
    ]:
        (to / f"{name}.tar").write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
