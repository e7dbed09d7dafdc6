"""Sanitize the members of an untrusted tar: make them harmless, or refuse the archive and name the member."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace

from rootfs.process.run import Log
from rootfs.system.text import printable
from rootfs.tarball.errors import TarballRefused
from rootfs.tree.filters import Rules
from rootfs.tree.member import Member, Members
from rootfs.tree.merge import WHITEOUT

# makedev(3) numbers of the devices of every container (OCI runtime specification, "Default Devices"); debootstrap makes
# the same.
DEVICES = {
    "dev/null": (1, 3),
    "dev/zero": (1, 5),
    "dev/full": (1, 7),
    "dev/random": (1, 8),
    "dev/urandom": (1, 9),
    "dev/tty": (5, 0),
    "dev/console": (5, 1),
    "dev/ptmx": (5, 2),
}
SPECIAL = (tarfile.CHRTYPE, tarfile.BLKTYPE)
LONGEST_PATH, LONGEST_NAME = 4095, 255  # bytes (limits.h: PATH_MAX, NAME_MAX)
LAST_ID = (1 << 32) - 2  # uid_t, of which the last means "no change" (chown(2))
LATEST_MTIME = 1 << 32  # seconds since 1970: later times (after 2106) are not believed
XATTR = re.compile(r"(security|system|trusted|user)\.[!-~]{1,240}")  # xattr(7)
OVERLAY = re.compile(r"(trusted|user)\.overlay\..*")  # read by overlayfs, which engines mount layers with
LONGEST_XATTR = 1 << 16  # bytes (limits.h: XATTR_SIZE_MAX)


def sanitize(members: Members, kept: Rules, log: Log, *, strip: int = 0, is_layer: bool = False) -> Iterator[Member]:
    """Yield the members that stay, each with its path in the tree, without its first `strip` folders.

    Members that the rules exclude are not checked, and named pipes are left out. A layer may have whiteouts. Raises
    TarballRefused for members that could do harm, in the image or to the program that unpacks it.
    """
    for member in members:
        path = _stripped(member_path(member.path), strip)
        if not path or not kept.keeps(path, is_folder=member.is_folder):
            continue
        if member.kind == tarfile.FIFOTYPE:
            log(f"{printable(path)} is a named pipe, and left out")
            continue
        yield _checked(member, path, strip, is_layer=is_layer)


def device_rules() -> Iterable[str]:
    """Rules that keep the usual devices where the contents of /dev are left out."""
    return [f"include /{path}" for path in DEVICES]


def _stripped(path: str, strip: int) -> str:
    """The path without so many folders; empty if it has no more than these, as with tar's --strip-components."""
    return "/".join(path.split("/")[strip:])


def _checked(member: Member, path: str, strip: int, *, is_layer: bool) -> Member:
    if wrong := next(_wrong(member, path, is_layer=is_layer), ""):
        raise TarballRefused.of(printable(path), wrong)
    if member.kind == tarfile.LNKTYPE:
        return replace(member, path=path, link=_stripped(member_path(member.link), strip), mode=0, xattrs={})
    mode = member.mode if member.is_file or member.is_folder else member.mode & 0o777
    mtime = member.mtime if 0 <= member.mtime < LATEST_MTIME else 0 if member.mtime < 0 else LATEST_MTIME
    link = member.link if member.kind == tarfile.SYMTYPE else ""
    return replace(member, path=path, mode=mode, mtime=mtime, link=link)


def _wrong(member: Member, path: str, *, is_layer: bool) -> Iterator[str]:
    """Reasons why an image cannot have this member."""
    if path == "." and not member.is_folder:
        yield "is the root, and no folder"
    if not is_layer and any(part.startswith(WHITEOUT) for part in path.split("/")):
        yield "has a name that in a layer removes another file"
    if member.kind in SPECIAL and (member.kind, member.device) != (tarfile.CHRTYPE, DEVICES.get(path)):
        yield f"is a device ({':'.join(map(str, member.device))}) that no image has there"
    if not (0 <= member.uid <= LAST_ID and 0 <= member.gid <= LAST_ID):
        yield f"belongs to {member.uid}:{member.gid}, which is no owner"
    if member.kind == tarfile.SYMTYPE and ("\0" in member.link or not 0 < len(_bytes(member.link)) <= LONGEST_PATH):
        yield "is a symbolic link to what is no name"
    for key, value in member.xattrs.items():
        if not XATTR.fullmatch(key) or OVERLAY.fullmatch(key) or len(value) > LONGEST_XATTR:
            yield f"has the extended attribute {printable(key)}, which no file of an image may have"


def member_path(name: str) -> str:
    """Normalize a name to a relative path in the tree. A leading slash is dropped, as tar(1) does.

    Raises TarballRefused.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    wrong = ""
    if not name or "\0" in name:
        wrong = "is no name"
    elif ".." in parts:
        wrong = "leads out of the tree, or into it by a detour"
    elif len(_bytes("/".join(parts))) > LONGEST_PATH or any(len(_bytes(part)) > LONGEST_NAME for part in parts):
        wrong = "is longer than any name can be"
    if wrong:
        raise TarballRefused(f"the name {printable(name[:LONGEST_NAME])!r} {wrong}")
    return "/".join(parts) or "."


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
