"""Compare two layers: which members differ, and how.

Each layer is streamed, and contents are compared by the hashes of their chunks, so no layer is ever in memory. Only the
first few contents that differ are read again.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, cast

from rootfs.process.run import Log
from rootfs.system.decompression import CorruptStream, DecompressedStream
from rootfs.system.digests import sha256_of_file
from rootfs.system.text import printable
from rootfs.tree.content_diff import ContentPair, compare_contents
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, from_tar

CHUNK = 1 << 20  # bytes of a content that are hashed at once
DETAILED = 20  # differing contents that are compared in detail
WHOLE = 8 << 20  # of a larger content only the first different chunk is compared in detail
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}


@dataclass(frozen=True)
class Difference:
    """One way in which a member is not the same in two layers.

    `aspect` is `missing` (the new layer lacks it), `added`, `type`, `mode`, `owner`, `mtime`, `size`, `content`,
    `link`, `xattrs`, `device` or `order`; where all members are the same, `tar` or `compression`, of the path `.`.
    `old` and `new` are the two values; `detail` describes how two contents differ.
    """

    path: str
    aspect: str
    old: str = ""
    new: str = ""
    detail: str = ""

    def __str__(self) -> str:
        values = ", ".join(filter(None, (self.old and f"was {self.old}", self.new and f"is {self.new}")))
        head = f"{printable(self.path)}: {self.aspect}" + (f": {printable(values)}" if values else "")
        return "\n    ".join([head, *self.detail.splitlines()])


@dataclass(frozen=True)
class _MemberSummary:
    """Summary of a member: the member without its content, and the concatenated hashes of the content's chunks."""

    head: Member
    hashes: bytes

    @property
    def kind(self) -> str:
        return KINDS.get(self.head.kind, f"type {self.head.kind!r}")


@dataclass(frozen=True)
class _LayerSummary:
    """Summary of a layer. Of a path that comes twice the later one counts, as when it is unpacked."""

    members: Mapping[str, _MemberSummary]
    tar: str


def compare_layers(old: Path, new: Path, folder: Path, log: Log) -> list[Difference]:
    """The differences of two layers (zstd-compressed tars), by path; empty where they have the same bytes.

    The first differing contents are compared in detail, which needs an empty `folder`. Raises BadTree.
    """
    was, now = _summary_of_layer(old), _summary_of_layer(new)
    found = [*_members(was.members, now.members), *_order(list(was.members), list(now.members))]
    if not found:
        return [Difference(".", *pair) for pair in _outside(old, new, was, now)]
    contents = islice((each.path for each in found if each.aspect == "content"), DETAILED)
    starts = {path: _start(was.members[path], now.members[path]) for path in contents}
    pairs = _pairs(starts, _extract(old, starts, folder / "old"), _extract(new, starts, folder / "new"))
    details = compare_contents(pairs, log)
    return [replace(each, detail=details.get(each.path, "")) if each.aspect == "content" else each for each in found]


def _outside(old: Path, new: Path, was: _LayerSummary, now: _LayerSummary) -> Iterator[tuple[str, str, str]]:
    """The difference where all members are equal: the tar itself, else its compression."""
    if was.tar != now.tar:
        yield "tar", was.tar, now.tar
    elif (first := sha256_of_file(old)) != (second := sha256_of_file(new)):
        yield "compression", f"sha256:{first}", f"sha256:{second}"


def _summary_of_layer(layer: Path) -> _LayerSummary:
    with _opened(layer) as tar:
        hashed = _Hashed(tar)
        members = {member.path: _summary(member) for member in from_tar(cast(IO[bytes], hashed))}
        while hashed.read(CHUNK):
            pass
    return _LayerSummary(members, hashed.digest)


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._hash = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


@contextmanager
def _opened(layer: Path) -> Iterator[IO[bytes]]:
    """A layer's tar as a stream. Raises BadTree."""
    try:
        with layer.open("rb") as file:
            yield cast(IO[bytes], DecompressedStream(file))
    except CorruptStream as error:
        raise BadTree(f"{layer.name} cannot be unpacked: {error}") from error


def _summary(member: Member) -> _MemberSummary:
    hashes = b"".join(hashlib.sha256(chunk).digest() for chunk in _chunks(member))
    return _MemberSummary(replace(member, content=None), hashes)


def _chunks(member: Member) -> Iterator[bytes]:
    while member.content and (chunk := member.content.read(CHUNK)):
        yield chunk


def _moment(seconds: int) -> str:
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{seconds} s"


ASPECTS: dict[str, Callable[[_MemberSummary], str]] = {
    "type": lambda seen: seen.kind,
    "mode": lambda seen: f"{seen.head.mode:04o}",
    "owner": lambda seen: f"{seen.head.uid}:{seen.head.gid}",
    "mtime": lambda seen: _moment(seen.head.mtime),
    "size": lambda seen: f"{seen.head.size} bytes",
    "link": lambda seen: seen.head.link or "no link",
    "device": lambda seen: "{}:{}".format(*seen.head.device),
    "xattrs": lambda seen: ", ".join(f"{name}={value.hex()}" for name, value in sorted(seen.head.xattrs.items())),
}


def _members(old: Mapping[str, _MemberSummary], new: Mapping[str, _MemberSummary]) -> Iterator[Difference]:
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path), new.get(path)
        if was and now:
            yield from _aspects(path, was, now)
        elif was:
            yield Difference(path, "missing", old=f"a {was.kind}")
        elif now:
            yield Difference(path, "added", new=f"a {now.kind}")


def _aspects(path: str, was: _MemberSummary, now: _MemberSummary) -> Iterator[Difference]:
    for aspect, value_of in ASPECTS.items():
        if (first := value_of(was)) != (second := value_of(now)):
            yield Difference(path, aspect, first or "none", second or "none")
    if was.hashes != now.hashes and was.head.is_file and now.head.is_file:
        yield Difference(path, "content")


def _order(old: list[str], new: list[str]) -> Iterator[Difference]:
    """The first member with another position, of those that both layers have."""
    both = set(old) & set(new)
    firsts, seconds = ([path for path in paths if path in both] for paths in (old, new))
    for index, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        if first != second:
            before = f"after {seconds[index - 1]}" if index else "first"
            yield Difference(second, "order", _place(firsts, second), before)
            return


def _place(paths: list[str], path: str) -> str:
    return f"after {paths[paths.index(path) - 1]}"


def _start(was: _MemberSummary, now: _MemberSummary) -> int | None:
    """The offset of the chunk of two contents that is compared in detail; None: all of it."""
    if max(was.head.size, now.head.size) <= WHOLE:
        return None
    size = hashlib.sha256().digest_size
    first, second = ([seen.hashes[at : at + size] for at in range(0, len(seen.hashes), size)] for seen in (was, now))
    same = next((index for index, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    return CHUNK * (min(len(first), len(second)) if same is None else same)


def _extract(layer: Path, starts: Mapping[str, int | None], folder: Path) -> dict[str, Path]:
    """Read a layer again and write the contents that are compared in detail to files, named by number."""
    folder.mkdir(parents=True)
    files = {path: folder / str(number) for number, path in enumerate(starts)}
    with _opened(layer) as tar:
        for member in from_tar(tar):
            if member.path in starts and member.is_file:
                _write(member, starts[member.path], files[member.path])
    return files


def _write(member: Member, start: int | None, path: Path) -> None:
    with path.open("wb") as file:
        for index, chunk in enumerate(_chunks(member)):
            if start is None or index * CHUNK == start:
                file.write(chunk)


def _pairs(starts: Mapping[str, int | None], old: dict[str, Path], new: dict[str, Path]) -> dict[str, ContentPair]:
    return {path: ContentPair(old[path], new[path], start or 0, start is None) for path, start in starts.items()}
