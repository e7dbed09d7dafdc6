"""Write members as a deterministic tar, in chunks whose boundaries depend only on the members around them.

The tar is POSIX ustar with pax headers only where ustar cannot say it (long names, large numbers, extended attributes),
so its bytes depend on the members alone: not on a tar program, its version or the machine.

`python -m rootfs.tree.tar_writer FOLDER` writes a folder that only its own namespace can read to standard output.
"""

from __future__ import annotations

import struct
import sys
import tarfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

from rootfs.tree.errors import BadTree
from rootfs.tree.member import XATTR, Member, Members, from_tree

READ_SIZE = 1 << 20
BLOCK = tarfile.BLOCKSIZE

# A ustar header (POSIX.1-1988, `struct posix_header` in tar(5)); names of users and groups, and prefix, stay empty.
USTAR = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 64x 8s 8s 167x")
SHORT, LONG = 8**7, 8**11  # the first values that do not fit into number fields of 8 and of 12 bytes

# Where chunks end, in bytes. Measured on a minbase tree: 4 % larger than a single chunk.
SMALLEST_CHUNK = 1 << 20  # no chunk but the last is smaller
TARGET_CHUNK = 4 << 20  # from this size on any member may begin the next chunk
LARGEST_CHUNK = 7 << 20  # at this size one does, except inside a file that began before SMALLEST_CHUNK
CUT_DEPTH = 3  # folders of this depth (usr/share/doc) hold similar files: cutting there costs least


def tar_chunks(members: Members) -> Iterator[bytearray]:
    """The members as a tar that ends with two empty blocks, in chunks of at most SMALLEST_CHUNK + LARGEST_CHUNK bytes.

    Where a chunk ends depends only on the names and sizes of the members around that place. When one member changes,
    all chunks before it and all but the next few after it stay the same. Raises BadTree where a content ends early, and
    what the members' source raises.
    """
    chunk = bytearray()
    for member in members:
        if _starts_chunk(member, len(chunk)):
            yield chunk
            chunk = bytearray()
        chunk += header(member)
        if member.is_file and member.size:
            chunk = yield from _with_content(member, chunk)
    chunk += bytes(2 * BLOCK)
    yield chunk


def _starts_chunk(member: Member, pending: int) -> bool:
    if pending < SMALLEST_CHUNK:
        return False
    if pending + member.size > LARGEST_CHUNK or (member.is_folder and member.path.count("/") < CUT_DEPTH):
        return True
    # The hash of the name decides, weighed by the member's share of the room that is left: so the same members begin a
    # chunk, whatever comes before them.
    share = (member.size + BLOCK) << 32
    return pending >= TARGET_CHUNK and zlib.crc32(_raw(member.path)) * (LARGEST_CHUNK - pending) < share


def _with_content(member: Member, chunk: bytearray) -> Generator[bytearray, None, bytearray]:
    """Append the content, cut after each LARGEST_CHUNK of its own bytes; returns the chunk that is not full yet."""
    assert member.content is not None  # noqa: S101 - a regular file
    done = 0
    while done < member.size:
        data = member.content.read(min(READ_SIZE, member.size - done, LARGEST_CHUNK - done % LARGEST_CHUNK))
        if not data:
            raise BadTree(f"{member.path} ended {member.size - done} bytes early")
        chunk += data
        done += len(data)
        if done % LARGEST_CHUNK == 0 and done < member.size:
            yield chunk
            chunk = bytearray()
    chunk += bytes(-member.size % BLOCK)
    return chunk


def header(member: Member) -> bytes:
    """A member's header blocks: one ustar header, after a pax header where ustar is not enough."""
    path, link = _raw(member.path), _raw(member.link)
    if member.is_folder:
        path += b"/"
    records = {f"{XATTR}{name}".encode(): value for name, value in member.xattrs.items()}
    if len(path) > tarfile.LENGTH_NAME:
        records[b"path"] = path
    if len(link) > tarfile.LENGTH_LINK:
        records[b"linkpath"] = link
    records |= {key: b"%d" % number for key, number, end in _numbers(member) if not 0 <= number < end}
    return (_pax(records) if records else b"") + _ustar(member, path, link)


def _numbers(member: Member) -> tuple[tuple[bytes, int, int], ...]:
    """The number fields of a header, by the keys of pax(1), each with the first value that does not fit."""
    return (
        (b"size", member.size, LONG),
        (b"uid", member.uid, SHORT),
        (b"gid", member.gid, SHORT),
        (b"mtime", member.mtime, LONG),
    )


def _raw(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _short(number: int) -> bytes:
    """A number field of 8 bytes; a value that does not fit is 0 here and is in the pax header."""
    return b"%07o" % (number if 0 <= number < SHORT else 0)


def _long(number: int) -> bytes:
    """As `_short`, of 12 bytes."""
    return b"%011o" % (number if 0 <= number < LONG else 0)


def _ustar(member: Member, path: bytes, link: bytes) -> bytes:
    """One header block."""
    block = USTAR.pack(
        path,
        _short(member.mode),
        _short(member.uid),
        _short(member.gid),
        _long(member.size),
        _long(member.mtime),
        b" " * 8,  # the checksum field counts as spaces
        member.kind,
        link,
        b"ustar\x0000",
        _short(member.device[0]),
        _short(member.device[1]),
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax(records: dict[bytes, bytes]) -> bytes:
    """A pax extended header, its records sorted by key; the member's name is fixed, as it carries no meaning."""
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    carrier = Member(path="PaxHeaders", kind=tarfile.XHDTYPE, size=len(body))
    return _ustar(carrier, b"PaxHeaders", b"") + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


if __name__ == "__main__":
    sys.stdout.buffer.writelines(tar_chunks(from_tree(Path(sys.argv[1]))))
