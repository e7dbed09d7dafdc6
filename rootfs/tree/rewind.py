"""Contents that can be read twice: what comes out of a tar, in which nothing goes back, is copied for that."""

from __future__ import annotations

import io
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from rootfs.system.file_slice import FileSlice
from rootfs.tree.member import Member

ROOM = 16 << 20  # bytes of a copy that are in memory
CHUNK = 1 << 20


def rewindable(member: Member) -> Member:
    """The member with a content that `seek(0)` begins anew: its own or a copy, which nobody else needs afterwards."""
    content = member.content
    assert content is not None  # noqa: S101 - a regular file
    return member if _begins_a_file(content) else replace(member, content=_copied(content, member.size))


def release(copy: Member, member: Member) -> None:
    """Close the content of a copy that `rewindable` has made of the member; the member's own stays open."""
    if copy.content and copy.content is not member.content:
        copy.content.close()


def _begins_a_file(content: IO[bytes]) -> bool:
    """Whether its beginning is that of a file, and can be gone back to."""
    if isinstance(content, SpooledTemporaryFile):
        return content.tell() == 0
    return isinstance(getattr(content, "raw", content), io.FileIO | io.BytesIO | FileSlice) and content.tell() == 0


def _copied(content: IO[bytes], size: int) -> IO[bytes]:
    copy = SpooledTemporaryFile(ROOM)  # noqa: SIM115 - closed when the member has passed
    while size and (data := content.read(min(size, CHUNK))):
        copy.write(data)
        size -= len(data)
    copy.seek(0)
    return cast(IO[bytes], copy)
