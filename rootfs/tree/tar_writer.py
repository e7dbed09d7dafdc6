"""Members to a deterministic tar, in frames that are cut where the members say so.

The tar is POSIX ustar with pax headers only where ustar cannot say it (long names, large numbers, extended attributes),
so its bytes depend on the members alone: not on a tar program, its version or the machine.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Generator, Iterator

from rootfs.tree.errors import BadTree
from rootfs.tree.member import XATTR, Member, Members

CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE

# A ustar header (POSIX.1-1988, `struct posix_header` in tar(5)); names of users and groups, and prefix, stay empty.
USTAR = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 64x 8s 8s 167x")
SHORT, LONG = 8**7, 8**11  # what is too large for number fields of 8 and of 12 bytes

# Where frames end, in bytes. Measured on a minbase tree: 4 % larger than a single frame.
FEWEST = 1 << 20  # no frame but the last is smaller
ENOUGH = 4 << 20  # from here on any member may begin the next frame
MOST = 7 << 20  # and here one has, unless it is the content of a file that began before FEWEST
NATURAL = 3  # folders of this depth (usr/share/doc) hold what is alike: a frame that ends there loses least


def frames(members: Members) -> Iterator[bytearray]:
    """The members as a tar that ends with two empty blocks, in pieces of at most FEWEST + MOST bytes and some headers.

    Where a piece ends depends on the names and sizes around that place alone: one member that changes, comes or goes
    leaves the pieces before it and, but for the next few, those behind it as they were. Raises BadTree where a content
    ends early, and what the members' source raises.
    """
    frame = bytearray()
    for member in members:
        if _begins_frame(member, len(frame)):
            yield frame
            frame = bytearray()
        frame += header(member)
        if member.is_file and member.size:
            frame = yield from _with_content(member, frame)
    frame += bytes(2 * BLOCK)
    yield frame


def _begins_frame(member: Member, pending: int) -> bool:
    if pending < FEWEST:
        return False
    if pending + member.size > MOST or (member.is_folder and member.path.count("/") < NATURAL):
        return True
    # A name has its hash against its share of the room that is left, so the same few end frames whatever lies before.
    return pending >= ENOUGH and zlib.crc32(_raw(member.path)) * (MOST - pending) < (member.size + BLOCK) << 32


def _with_content(member: Member, frame: bytearray) -> Generator[bytearray, None, bytearray]:
    """The content behind what is pending, cut at every MOST of its own bytes; returns what is still pending."""
    assert member.content is not None  # noqa: S101 - a regular file
    done = 0
    while done < member.size:
        data = member.content.read(min(CHUNK, member.size - done, MOST - done % MOST))
        if not data:
            raise BadTree(f"{member.path} ended {member.size - done} bytes early")
        frame += data
        done += len(data)
        if done % MOST == 0 and done < member.size:
            yield frame
            frame = bytearray()
    frame += bytes(-member.size % BLOCK)
    return frame


def header(member: Member) -> bytes:
    """A member's header blocks: one ustar header, behind a pax header where ustar is not enough."""
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
    """What a header says in number fields, by the keys of pax(1), and from where on it does not fit."""
    return (
        (b"size", member.size, LONG),
        (b"uid", member.uid, SHORT),
        (b"gid", member.gid, SHORT),
        (b"mtime", member.mtime, LONG),
    )


def _raw(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _short(number: int) -> bytes:
    """A number field of 8 bytes; what does not fit is 0 here and said in the pax header."""
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
        b" " * 8,  # what the sum is made with
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
