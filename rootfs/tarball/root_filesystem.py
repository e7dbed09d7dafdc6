"""Recognize what is no root filesystem: image archives, trees below a folder, and empty archives."""

from __future__ import annotations

from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.image_archive import is_image_archive
from rootfs.tarball.staging import Staging

# Filesystem Hierarchy Standard 3.0, 3.2 and 3.3, 6.1; and the roots of NixOS and Guix.
FOLDERS = frozenset(
    ("bin", "boot", "dev", "etc", "gnu", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt")  # noqa: RUF005
    + ("nix", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var")
)


def check_root_filesystem(staging: Staging) -> None:
    """Raises TarballRefused unless the tree may be a root filesystem, with what would make it one."""
    names = staging.top_names()
    if not names:
        raise TarballRefused("it has no files", "Name an archive that has some; `strip` and `leave_out` drop names.")
    if names & FOLDERS:
        return
    if is_image_archive(names):
        raise TarballRefused(
            "it is an image archive, with layers as files, and no root filesystem",
            "`archive: image` (--image) takes the layers of its image.",
        )
    if len(names) == 1 and (inside := staging.top_names(top := next(iter(names)))) & FOLDERS:
        found = ", ".join(sorted(inside & FOLDERS)[:3])
        raise TarballRefused(
            f"its tree is below the folder {top!r} (with {found})", "`strip: 1` (--strip 1) drops that folder."
        )
