"""Paths of a tree: relative ones, without a leading or trailing slash."""

import os

# Links that lead into /usr, in trees with just one folder for programs, and one for libraries (Debian #978636).
ALIASES = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")


def parent_folders(path: str) -> list[str]:
    """The folders that contain a path, the outermost first; not the root."""
    found, at = [], path.find("/")
    while at >= 0:
        found.append(path[:at])
        at = path.find("/", at + 1)
    return found


def usr_merged_path(path: str) -> str:
    """The path with `bin`, `lib`, … replaced by `usr/bin`, `usr/lib`, …, which they are links to."""
    first, slash, _ = path.partition("/")
    return f"usr/{path}" if first in ALIASES and slash else path


def sort_key(path: str) -> tuple[bytes, ...]:
    """A key to sort paths: each folder before its contents, the entries of a folder by bytes."""
    return () if path == "." else tuple(os.fsencode(path).split(b"/"))
