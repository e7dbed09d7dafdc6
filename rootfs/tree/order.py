"""The order of a layer: files of one package come together.

So images with packages in common have most compressed frames of their layers in common, too. In the order of folders
one more package would change a frame wherever it has a file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rootfs.tree.paths import parent_folders, usr_merged_path

# dpkg's checksums of every package; also in trees from which dpkg was removed.
CHECKSUMS, SUFFIX = ("var", "lib", "dpkg", "info"), ".md5sums"
LARGEST = 64 << 20  # bytes of all checksums: ten times those of a full desktop
WRITTEN_BY_SCRIPTS = ("etc/", "var/")  # and by dpkg


def is_package_file(path: str) -> bool:
    """Whether only the package itself writes at this path."""
    return "/" in path and not path.startswith(WRITTEN_BY_SCRIPTS)


def packages_of(tree: Path) -> dict[str, str]:
    """The package of each file of a tree, by path, as far as dpkg's checksums name it; of several the first by name."""
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
    """The paths in the order of a layer; each folder comes before its contents.

    The root is first. Then come the files of each package, after the folders that contain them, and last all other
    paths, in their given order.
    """
    if not packages:
        yield from paths
        return
    known = dict.fromkeys(paths, False)  # whether it was yielded
    owned = sorted((path for path in known if path in packages), key=packages.__getitem__)
    last = None
    for path in owned:
        folder = path.rpartition("/")[0]
        for each in (path,) if folder == last else (".", *parent_folders(path), path):
            if known.get(each) is False:
                known[each] = True
                yield each
        last = folder
    yield from (path for path, is_done in known.items() if not is_done)


@contextlib.contextmanager
def _opened(tree: Path) -> Iterator[int]:
    """Open the folder of checksums without following links, which could lead out of the tree."""
    with contextlib.ExitStack() as opened:
        folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
        for name in CHECKSUMS:
            opened.callback(os.close, folder)
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        opened.callback(os.close, folder)
        yield folder


def _read(folder: int, name: str, room: int) -> bytes:
    """The content of a regular file of at most `room` bytes; empty for anything else."""
    with contextlib.suppress(OSError):
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(number, "rb") as file:
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode) and status.st_size <= room:
                return file.read(room)
    return b""
