"""Which package the files of a tree came with, and the order of a layer that follows from it.

What a package brings stands together, so images that have packages in common have most pieces of their layers in
common, too: in the order of folders one more package would change a piece wherever it puts a file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rootfs.tree.paths import parent_folders, usr_merged_path

# dpkg's checksums, of every package: also of those that came without, and where it was removed when all was done.
CHECKSUMS, SUFFIX = ("var", "lib", "dpkg", "info"), ".md5sums"
LARGEST = 64 << 20  # bytes of all checksums: ten times those of a full desktop
UNSTEADY = ("etc/", "var/")  # where packages' scripts write, and dpkg


def is_package_file(path: str) -> bool:
    """Whether a path is where nobody but its package writes."""
    return "/" in path and not path.startswith(UNSTEADY)


def packages_of(tree: Path) -> dict[str, str]:
    """The package of each file of a tree, by path, as far as it says so; of several the first by name."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), _opened(tree) as folder:
        names = (name for name in os.listdir(folder) if name.endswith(SUFFIX))  # noqa: PTH208 - an open folder
        room = LARGEST
        for package, name in sorted((name[: -len(SUFFIX)].partition(":")[0], name) for name in names):
            data = _read(folder, name, room)
            room -= len(data)
            for line in data.decode(errors="surrogateescape").splitlines():
                if is_package_file(path := usr_merged_path(line.partition("  ")[2].removeprefix("./"))):
                    found.setdefault(path, package)
    return found


def in_package_order(paths: Iterable[str], packages: Mapping[str, str]) -> Iterator[str]:
    """The paths, of which each folder is before what is in it, as a layer has them.

    The root is first. What is of a package comes with the others of it, behind the folders that lead there; all else
    comes last, as it came.
    """
    if not packages:
        yield from paths
        return
    known = dict.fromkeys(paths, False)  # whether it has come
    belonging = sorted((path for path in known if path in packages), key=packages.__getitem__)
    last = None
    for path in belonging:
        folder = path.rpartition("/")[0]
        for each in (path,) if folder == last else (".", *parent_folders(path), path):
            if known.get(each) is False:
                known[each] = True
                yield each
        last = folder
    yield from (path for path, has_come in known.items() if not has_come)


@contextlib.contextmanager
def _opened(tree: Path) -> Iterator[int]:
    """The folder of checksums, to which no link may lead: it could lead out of the tree."""
    with contextlib.ExitStack() as opened:
        folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
        for name in CHECKSUMS:
            opened.callback(os.close, folder)
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        opened.callback(os.close, folder)
        yield folder


def _read(folder: int, name: str, room: int) -> bytes:
    """A regular file of a folder, nothing of any other; also nothing of one for which there is no room."""
    with contextlib.suppress(OSError):
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(number, "rb") as file:
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode) and status.st_size <= room:
                return file.read(room)
    return b""
