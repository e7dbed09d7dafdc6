"""Unpacked packages: the members of debs with the position of each content, and control files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rootfs.lock.lock import Package
from rootfs.packages import deb
from rootfs.packages.deb import BROKEN
from rootfs.packages.decompressed import decompress
from rootfs.packages.errors import BadDeb
from rootfs.system.file_slice import FileSlice
from rootfs.tree.errors import BadTree
from rootfs.tree.package_tree import PackageTree, entry_from_disk, package_entries
from rootfs.tree.tar_writer import tar_chunks

THREADS = 2


@dataclass(frozen=True)
class UnpackedPackage:
    """One package: its tree, its control stanza, and its md5sums (dpkg's, `HEX  PATH` a line)."""

    package: Package
    tree: PackageTree
    control: str
    sums: str


UnpackedPackages = Mapping[str, UnpackedPackage]  # by the package's name


def unpack_packages(
    packages: Iterable[Package], debs: Path, folder: Path, cache: Path | None = None
) -> UnpackedPackages:
    """Decompress and read packages. Their files are in `debs`; `folder` is created for the decompressed ones.

    `cache` has decompressed debs of earlier builds. Raises BadDeb.
    """
    folder.mkdir()

    def read(package: Package) -> UnpackedPackage:
        return _read(package, decompress(package, debs / package.file_name, folder / package.file_name, cache).path)

    with ThreadPoolExecutor(THREADS) as pool:
        return {each.package.name: each for each in pool.map(read, packages)}


def _read(package: Package, plain: Path) -> UnpackedPackage:
    tree, parts = PackageTree(), deb.member_offsets(plain)
    try:
        for entry in package_entries(package.name, plain, *parts["data.tar"]):
            tree.add(entry)
        with tarfile.open(fileobj=FileSlice.open(plain, *parts["control.tar"]), mode="r:") as control:
            texts = dict(_texts(control))
    except KeyError as error:
        raise BadDeb(plain.name, f"it has no {error.args[0]}") from error
    except (*BROKEN, BadTree) as error:
        raise BadDeb(plain.name, str(error)) from error
    return UnpackedPackage(package, tree, texts["control"].strip() + "\n", texts.get("md5sums", ""))


def _texts(control: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    """The control files `control` and `md5sums` of a deb."""
    for info in control:
        name = info.name.removeprefix("./")
        if name in ("control", "md5sums") and (file := control.extractfile(info)):
            yield name, file.read().decode(errors="surrogateescape")


def write_smoke_overlay(
    packages: Iterable[Package], debs: Path, names: Iterable[str], files: Path, folder: Path
) -> Path:
    """Write a tar of packages and files of a smoke check, which are in its container and not in the image.

    `folder` is an empty folder for it, `debs` has the packages' files, `files` (the recipe's folder) those of `names`.
    Raises BadDeb, InputError.
    """
    tree = PackageTree()
    for each in unpack_packages(packages, debs, folder / "plain").values():
        for entry in each.tree.entries.values():
            tree.add(entry)
    for name in names:
        tree.put(entry_from_disk(name, files / name))
    path = folder / "overlay.tar"
    with path.open("wb") as tar:
        tar.writelines(tar_chunks(tree.members()))
    return path
