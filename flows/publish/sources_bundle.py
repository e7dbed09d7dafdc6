"""The sources of a build: its recipe and the recipe's files, stored so that it can be rebuilt after they changed.

One blob: a tar of what the recipe's digest covers, without times and owners; a mode says only whether a file is
executable. Its global header has its format; a tar without that has the first one.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO

from flows.publish.errors import damaged_sources
from flows.store.store import Store
from rootfs.recipe.recipe import files_folder
from rootfs.system.document_format import FIRST
from rootfs.system.errors import FormatNewer
from rootfs.system.source_tree import normalized_mode

FORMAT = 1
HEADER = "BASEFORGE.format"  # in the global pax header (pax(1), "pax Header Block")
# Errors caused by names that contradict each other, such as a file that is also a folder.
CONTRADICTIONS = (FileExistsError, FileNotFoundError, NotADirectoryError)


def keep_sources(store: Store, *recipes: Path, but: Path | None = None) -> str:
    """Keep the files of a recipe and of its base recipes, each with the folder of the files that it names.

    The file `but` is left out. Returns the blob's digest.
    """
    header = {HEADER: str(FORMAT)}
    with TemporaryFile() as tar:
        with tarfile.open(
            fileobj=tar, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape", pax_headers=header
        ) as archive:
            for name, path in (each for recipe in recipes for each in _ingredients(recipe, files_folder(recipe))):
                if path != but:
                    _add(archive, name, path)
        tar.seek(0)
        return store.put_blob(tar, check=True)


def _ingredients(recipe_file: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """The names in the tar and the files; a folder comes before its content."""
    yield f"{recipe_file.stem}.yaml", recipe_file
    if folder.is_dir():
        paths = sorted(folder.rglob("*"), key=lambda path: os.fsencode(path.relative_to(folder)))
        for path in (folder, *paths):
            yield str(recipe_file.stem / path.relative_to(folder)), path


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    if path.is_symlink() and "/" in name:
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        archive.addfile(info)
    elif path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
    else:
        with path.open("rb") as content:
            status = os.fstat(content.fileno())
            info.size, info.mode = status.st_size, normalized_mode(status)
            archive.addfile(info, content)


def unpack_sources(store: Store, digest: str, folder: Path) -> Path:
    """Unpack the recipe and its files to an empty `folder`; returns the recipe's path.

    Raises BlobMissing, BlobDamaged, FormatNewer and, if the blob holds no recipe, BuildError. Links are
    made last, so that nothing is written through one. Reading the recipe refuses links that lead out of its folder.
    """
    links: dict[Path, str] = {}
    with store.open_blob(digest) as blob:
        try:
            with tarfile.open(fileobj=blob, mode="r|", errors="surrogateescape") as archive:
                names = [_put(archive, member, folder, links) for member in _readable(archive, digest)]
            for path, target in links.items():
                path.symlink_to(target)
        except (tarfile.TarError, *CONTRADICTIONS, ValueError) as error:
            raise damaged_sources(digest, str(error)) from error
    if not names or "/" in names[0] or not names[0].endswith(".yaml"):
        raise damaged_sources(digest, "it does not begin with a recipe")
    return folder / names[0]


def _readable(archive: tarfile.TarFile, digest: str) -> Iterator[tarfile.TarInfo]:
    """The members of a tar. Raises FormatNewer, and ValueError if its format is not a number."""
    for member in archive:
        if (found := int(archive.pax_headers.get(HEADER, FIRST))) > FORMAT:
            raise FormatNewer("the recipe that a build was made of", digest, found, FORMAT)
        yield member


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, links: dict[Path, str]) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{member.name!r} leads out of the folder")
    path = folder / name
    if member.isdir():
        path.mkdir()
    elif member.issym():
        links[path] = member.linkname
    elif member.isreg():
        _write(archive.extractfile(member), path, member.mode)
    else:
        raise ValueError(f"{member.name!r} is neither a file, a folder nor a link")
    return member.name


def _write(content: IO[bytes] | None, path: Path, mode: int) -> None:
    assert content is not None  # noqa: S101 - a regular file has one
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
        os.fchmod(file.fileno(), mode & 0o755)
