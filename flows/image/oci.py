"""Layer and settings to an image: an OCI layout, its digest known before any builder is touched.

Config and manifest are written in exactly the bytes that BuildKit writes when it passes an image through: the config as
compact JSON, its own fields sorted as the keys of a Go map are, those inside in the order of the Go structs of
image-spec's `specs-go/v1/config.go`; the manifest as Go's `json.MarshalIndent` prints it. A builder's output is then
compared with ours byte for byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from rootfs.errors import UnknownArchitecture
from rootfs.pack import Layer
from rootfs.parts import ImageSettings

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'

# Debian's architectures as GOARCH and variant: dpkg's cputable against `go tool dist list`; the variants are the
# baselines of Debian's ports. arm64 has none, as containerd's platforms package leaves v8 out.
PLATFORMS = {
    "amd64": ("amd64", ""),
    "arm64": ("arm64", ""),
    "armel": ("arm", "v5"),
    "armhf": ("arm", "v7"),
    "i386": ("386", ""),
    "loong64": ("loong64", ""),
    "mips64el": ("mips64le", ""),
    "mipsel": ("mipsle", ""),
    "ppc64": ("ppc64", ""),
    "ppc64el": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}

# What a builder adds where an image has none (BuildKit's system.DefaultPathEnvUnix).
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Go's encoding/json escapes these inside strings, Python's json does not; outside of strings they do not occur.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


@dataclass(frozen=True)
class Image:
    """One image as an OCI layout in a folder; its manifest digest is what it is known by.

    `name` is the recipe's; `architecture` is Debian's name for it; `size` counts the bytes of manifest, config and
    compressed layer. The layer's path is inside the layout.
    """

    name: str
    layout: Path
    manifest_digest: str
    config_digest: str
    layer: Layer
    architecture: str
    size: int

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """A blob of the image as a stream."""
        return blob_path(self.layout, digest).open("rb")


def assemble(layer: Layer, settings: ImageSettings, *, name: str, architecture: str, epoch: int, folder: Path) -> Image:
    """Write the OCI layout to `folder`, which must not be there yet, and take the layer in without copying it.

    `architecture` is Debian's name, `epoch` the image's creation time in seconds since 1970. The index, which makes the
    folder an image, is written last. Raises UnknownArchitecture.
    """
    platform = platform_of(architecture)
    config = encoded(_config(layer, settings, name, platform, epoch))
    manifest = encoded(_manifest(config, layer), indent=2)
    blob_path(folder, layer.digest).parent.mkdir(parents=True)
    _take_in(layer.path, blob_path(folder, layer.digest))
    for blob in (config, manifest):
        blob_path(folder, digest_of(blob)).write_bytes(blob)
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    (folder / "index.json").write_bytes(index(manifest, platform, {"org.opencontainers.image.ref.name": name}))
    return Image(
        name=name,
        layout=folder,
        manifest_digest=digest_of(manifest),
        config_digest=digest_of(config),
        layer=replace(layer, path=blob_path(folder, layer.digest)),
        architecture=architecture,
        size=len(manifest) + len(config) + layer.size,
    )


def platform_of(architecture: str) -> dict[str, str]:
    """Debian's name of an architecture as an OCI platform, its keys in Go's order. Raises UnknownArchitecture."""
    if architecture not in PLATFORMS:
        raise UnknownArchitecture(architecture, PLATFORMS)
    machine, variant = PLATFORMS[architecture]
    return {"architecture": machine, "os": "linux"} | ({"variant": variant} if variant else {})


def digest_of(data: bytes) -> str:
    """The sha256 of some bytes, as `sha256:HEX`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout has a blob."""
    return layout / "blobs" / digest.replace(":", "/")


def encoded(value: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """JSON as Go's encoding/json writes it, compact or indented."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators).translate(_ESCAPES).encode()


def index(manifest: bytes, platform: Mapping[str, str], annotations: Mapping[str, str]) -> bytes:
    """The index.json of a layout with one image."""
    descriptor = _descriptor(MANIFEST_TYPE, digest_of(manifest), len(manifest))
    listed = descriptor | ({"annotations": dict(annotations)} if annotations else {}) | {"platform": dict(platform)}
    return encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [listed]})


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _manifest(config: bytes, layer: Layer) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of(config), len(config)),
        "layers": [_descriptor(LAYER_TYPE, layer.digest, layer.size)],
    }


def _config(
    layer: Layer, settings: ImageSettings, name: str, platform: Mapping[str, str], epoch: int
) -> dict[str, Any]:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {
        **platform,
        "config": _settings(settings),
        "created": created,
        "history": [{"created": created, "created_by": f"baseforge build {name}"}],
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
    return dict(sorted(fields.items()))


def _settings(settings: ImageSettings) -> dict[str, Any]:
    """The image's settings in the order of Go's `ImageConfig`; as there, what is empty is left out.

    The variables are sorted, PATH first: their order in a recipe means nothing, so it must not change the digest.
    """
    environment = {"PATH": DEFAULT_PATH, **dict(sorted(settings.env.items()))}
    fields = {
        "User": settings.user,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in settings.expose},
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Entrypoint": list(settings.entrypoint),
        "Cmd": list(settings.cmd),
        "Volumes": {path: {} for path in settings.volumes},
        "WorkingDir": settings.workdir,
        "Labels": settings.labels,
        "StopSignal": settings.stop_signal,
    }
    sets = {key: dict(sorted(value.items())) if isinstance(value, Mapping) else value for key, value in fields.items()}
    return {key: value for key, value in sets.items() if value}


def _take_in(source: Path, target: Path) -> None:
    """A second name for the file; a copy only where the two folders are on different file systems."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copyfile(source, target)
