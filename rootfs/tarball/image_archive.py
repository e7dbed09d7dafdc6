"""The layers of an image archive: an OCI layout as a tar, or the older form that `manifest.json` describes.

OCI image specification, image-layout.md and manifest.md; image/spec/v1.2 of the moby project.
"""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rootfs.process.run import Log
from rootfs.system.digests import sha256_of_file
from rootfs.system.disk import disk_full
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.limited_stream import LimitedStream
from rootfs.tarball.reader import read_tar
from rootfs.tarball.sanitize import member_path, sanitize
from rootfs.tree.errors import BadTree
from rootfs.tree.filters import Rules
from rootfs.tree.member import Member, Members
from rootfs.tree.merge import members_of, merge_layers
from rootfs.tree.tar_writer import tar_chunks

LAYOUT, INDEX, LISTING = "oci-layout", "index.json", "manifest.json"
LARGEST_DOCUMENT = 4 << 20  # bytes of an index or a manifest
DEEPEST = 3  # indexes inside each other
MOST_LAYERS = 127  # that engines mount over each other
OTHER = "Name an archive of one image for one platform."
ALL = Rules.parse([])

T = TypeVar("T")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Platform(_Document):
    architecture: str = ""


class _Descriptor(_Document):
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    platform: _Platform | None = None


class _Manifest(_Document):
    """An index or a manifest: the first has `manifests`, the second `layers`."""

    manifests: tuple[_Descriptor, ...] = ()
    layers: tuple[_Descriptor, ...] = ()


class _Listed(_Document):
    layers: tuple[str, ...] = Field(alias="Layers")


_LISTING = TypeAdapter(tuple[_Listed, ...])
_MANIFEST = TypeAdapter(_Manifest)


def is_image_archive(names: set[str]) -> bool:
    """Whether an archive with these names in its root is an image archive."""
    return LISTING in names or {LAYOUT, INDEX} <= names


class ImageArchive:
    """An image archive that is unpacked in `folder`. Its layers together may unpack to `largest` bytes.

    The archive and each layer have at most `most` members.

    Raises TarballRefused wherever the archive is not as its specification says.
    """

    def __init__(self, file: BinaryIO, folder: Path, *, largest: int, most: int) -> None:
        self._folder, self._largest, self._most = folder, largest, most
        self._files: dict[str, Path] = {}
        self._links: dict[str, str] = {}
        self._intact: set[Path] = set()
        folder.mkdir()
        with disk_full(folder):
            for member in read_tar(LimitedStream(file, largest), largest=largest, most=most):
                self._store(member)

    def members(self, architecture: str, log: Log) -> Iterator[Member]:
        """The members of the image's tree: its layers, merged."""
        tars, unpacked = [], 0
        for number, layer in enumerate(self._layers(architecture)):
            tars.append(self._folder / f"layer-{number}.tar")
            with layer.open("rb") as stream, disk_full(self._folder), tars[-1].open("xb") as tar:
                plain = LimitedStream(stream, self._largest)
                found = read_tar(plain, largest=self._largest, most=self._most)
                for chunk in tar_chunks(sanitize(found, ALL, log, is_layer=True)):
                    tar.write(chunk)
            if (unpacked := unpacked + plain.size) > self._largest:
                raise TarballRefused.too_large(self._largest)
        log(f"an image of {len(tars)} layers")
        try:
            with merge_layers(tars) as tree:
                yield from members_of(tree)
        except BadTree as error:
            raise TarballRefused(error.message) from error

    def _store(self, member: Member) -> None:
        path = member_path(member.path)
        if member.kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):  # older engines write a repeated layer as a link
            base = posixpath.dirname(path) if member.kind == tarfile.SYMTYPE else ""
            self._links[path] = posixpath.normpath(posixpath.join(base, member.link))
        elif member.content:
            self._files[path] = place = self._folder / f"file-{len(self._files)}"
            with place.open("xb") as file:
                shutil.copyfileobj(cast(BinaryIO, member.content), file)

    def _layers(self, architecture: str) -> list[Path]:
        """The files of the image's layers, the lowest first."""
        if INDEX in self._files:
            top = self._parsed(self._file(INDEX), INDEX, _MANIFEST)
            if top.manifests:
                layers = self._manifest(top, architecture, DEEPEST).layers
                return [self._blob(layer.digest) for layer in _few(layers)]
        if LISTING not in self._files:
            raise TarballRefused("it is no image archive: it has neither an index.json nor a manifest.json", OTHER)
        images = self._parsed(self._file(LISTING), LISTING, _LISTING)
        if len(images) != 1:
            raise TarballRefused(f"it has {len(images)} images", OTHER)
        return [self._file(member_path(name)) for name in _few(images[0].layers)]

    def _manifest(self, index: _Manifest, architecture: str, depth: int) -> _Manifest:
        """The manifest of the one image for the architecture, or of the only image."""
        fits = [each for each in index.manifests if each.platform and each.platform.architecture == architecture]
        chosen = {each.digest for each in fits or index.manifests if fits or not each.platform}
        if len(chosen) != 1 or not depth:
            has = f"{len(chosen)} images" if chosen else "no image"
            raise TarballRefused(f"it has {has} for {architecture}", OTHER)
        digest = chosen.pop()
        found = self._parsed(self._blob(digest), digest, _MANIFEST)
        return self._manifest(found, architecture, depth - 1) if found.manifests else found

    def _blob(self, digest: str) -> Path:
        path = self._file(f"blobs/{digest.replace(':', '/')}")
        if path not in self._intact and (found := sha256_of_file(path)) != digest.removeprefix("sha256:"):
            raise TarballRefused(f"the blob {digest} is damaged: its sha256 is {found}")
        self._intact.add(path)
        return path

    def _file(self, name: str) -> Path:
        path = self._files.get(name) or self._files.get(self._links.get(name, ""))
        if path is None:
            raise TarballRefused(f"it has no {name}, which its image needs")
        return path

    @staticmethod
    def _parsed(path: Path, name: str, model: TypeAdapter[T]) -> T:
        if path.stat().st_size > LARGEST_DOCUMENT:
            raise TarballRefused(f"its {name} has more than {LARGEST_DOCUMENT} bytes")
        try:
            return model.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise TarballRefused(f"its {name} is not as the specification says: {place}: {first['msg']}") from error


def _few(layers: tuple[T, ...]) -> tuple[T, ...]:
    """The layers. Raises TarballRefused for more than an image can have."""
    if len(layers) > MOST_LAYERS:
        raise TarballRefused(f"its image has {len(layers)} layers; engines take at most {MOST_LAYERS}", OTHER)
    return layers


def image_members(file: BinaryIO, folder: Path, architecture: str, log: Log, *, largest: int, most: int) -> Members:
    """The members of the tree of the image in an archive, which is unpacked in `folder`. Raises TarballRefused."""
    return ImageArchive(file, folder, largest=largest, most=most).members(architecture, log)
