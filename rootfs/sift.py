"""Members of a tar from anywhere to members of a root filesystem: made harmless, or refused with the member's name."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from rootfs.errors import TarballRefused
from rootfs.inside import printable
from rootfs.members import Member, Members
from rootfs.slim import Rules

# makedev(3) numbers of what every container has in /dev (the OCI runtime specification, config-linux, "Default
# Devices") and debootstrap makes.
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
LATEST = 1 << 32  # seconds since 1970: what claims to be newer than 2106 says nothing about its age
WHITEOUT = ".wh."  # in a layer (OCI image specification, layer, "Whiteouts") such a name removes another
XATTR = re.compile(r"(security|system|trusted|user)\.[!-~]{1,240}")  # xattr(7)
OVERLAY = re.compile(r"(trusted|user)\.overlay\..*")  # what overlayfs would obey, which engines lay layers with
LONGEST_XATTR = 1 << 16  # bytes (limits.h: XATTR_SIZE_MAX)


@dataclass(frozen=True)
class Sieve:
    """What stays of an archive: what the rules keep, and devices only if they are asked for.

    `dropped` counts what was made harmless by leaving it out, by its kind.
    """

    kept: Rules
    devices: bool
    dropped: Counter[str] = field(default_factory=Counter)

    def sifted(self, members: Members) -> Iterator[Member]:
        """What stays, each member under the path that it has in the tree.

        Raises TarballRefused for what could do harm, in this image or in what unpacks it.
        """
        for member in members:
            path = _path(member.path)
            if self.kept.keeps(path) and not self._is_dropped(member, path):
                yield _checked(member, path)

    def _is_dropped(self, member: Member, path: str) -> bool:
        """Whether it has no place in an image: pipes, and devices in /dev. Any other device is refused."""
        if member.kind == tarfile.FIFOTYPE:
            self.dropped["named pipes"] += 1
            return True
        if member.kind not in SPECIAL:
            return False
        if not path.startswith("dev/"):
            raise TarballRefused.of(printable(path), "is a device outside of /dev")
        if self.devices and path in DEVICES:
            if (member.kind, member.device) != (tarfile.CHRTYPE, DEVICES[path]):
                raise TarballRefused.of(printable(path), f"is another device than that of this name ({member.device})")
            return False
        self.dropped["devices"] += 1
        return True


def device_rules() -> Iterable[str]:
    """Rules that keep the usual devices, for whoever leaves out all that is in /dev."""
    return [f"include /{path}" for path in DEVICES]


def _checked(member: Member, path: str) -> Member:
    name = printable(path)
    if wrong := _wrong(member, path):
        raise TarballRefused.of(name, wrong)
    if member.kind == tarfile.LNKTYPE:
        return replace(member, path=path, link=_path(member.link), mode=0, xattrs={})
    mode = member.mode if member.is_file or member.is_folder else member.mode & 0o777
    mtime = member.mtime if 0 <= member.mtime < LATEST else 0 if member.mtime < 0 else LATEST
    link = member.link if member.kind == tarfile.SYMTYPE else ""
    return replace(member, path=path, mode=mode, mtime=mtime, link=link)


def _wrong(member: Member, path: str) -> str:
    """Why a member can have no place in an image; nothing where it can."""
    if path == "." and not member.is_folder:
        return "is the root, and no folder"
    if any(part.startswith(WHITEOUT) for part in path.split("/")):
        return "has a name that in a layer removes another file"
    if not (0 <= member.uid <= LAST_ID and 0 <= member.gid <= LAST_ID):
        return f"belongs to {member.uid}:{member.gid}, which is no owner"
    if member.kind == tarfile.SYMTYPE and not (
        0 < len(_bytes(member.link)) <= LONGEST_PATH and "\0" not in member.link
    ):
        return "is a symbolic link to what is no name"
    for key, value in member.xattrs.items():
        if not XATTR.fullmatch(key) or OVERLAY.fullmatch(key) or len(value) > LONGEST_XATTR:
            return f"has the extended attribute {printable(key)}, which no file of an image may have"
    return ""


def _path(name: str) -> str:
    """A name as a path in the tree: relative, and plain. An absolute one means the same, as to tar(1) itself."""
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
