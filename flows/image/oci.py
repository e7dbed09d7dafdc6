"""Make an image of layers and settings: an OCI layout, whose digest is known before any builder is used.

Config and manifest are written in exactly the bytes that BuildKit writes when it passes an image through: the config as
compact JSON, its own fields sorted as the keys of a Go map are, those inside in the order of the Go structs of
image-spec's `specs-go/v1/config.go`; the manifest as Go's `json.MarshalIndent` prints it. A builder's output is then
compared with ours byte for byte.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from rootfs.layer.pack import Layer
from rootfs.recipe.sections import DEFAULT_PATH, ImageSettings
from rootfs.system.digests import digest_of_bytes
from rootfs.system.platforms import platform_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'

# Further keys that engines know, in the order of moby's docker-image-spec, specs-go/v1/image.go, behind the others.
DOCKER_KEYS = ("Healthcheck", "StopTimeout", "Shell")

# Go's encoding/json escapes these inside strings, Python's json does not; outside of strings they do not occur.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


@dataclass(frozen=True)
class BaseImage:
    """The base image's layers, the lowest first, and its config. An image without a base image has neither."""

    layers: tuple[Layer, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """One image as an OCI layout in a folder. Its manifest digest identifies it.

    `name` is the recipe's, `architecture` has Debian's name, `size` is the bytes of manifest, config and compressed
    layers. `layer` is the image's own layer, `base_layers` are those of its base image, the lowest first. Their paths
    are inside the layout.
    """

    name: str
    layout: Path
    manifest_digest: str
    config_digest: str
    layer: Layer
    architecture: str
    size: int
    base_layers: tuple[Layer, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, the lowest first."""
        return (*self.base_layers, self.layer)

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open a blob of the image as a stream."""
        return blob_path(self.layout, digest).open("rb")


def make_image(
    layer: Layer,
    settings: ImageSettings,
    *,
    name: str,
    architecture: str,
    epoch: int,
    folder: Path,
    base_image: BaseImage = BaseImage(),
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Write the OCI layout to `folder`, which must not be there yet, and take the layers in without copying them.

    `architecture` is Debian's name, `epoch` the image's creation time in seconds since 1970, `annotations` the
    manifest's. The index, which makes the folder an image, is written last. Raises InputError.
    """
    platform, layers = platform_of(architecture), (*base_image.layers, layer)
    config = encoded(_config(layers, settings, name, platform, epoch, base_image.config))
    manifest = encoded(_manifest(config, layers, annotations or {}), indent=2)
    taken = [_taken(each, folder) for each in layers]
    for blob in (config, manifest):
        blob_path(folder, digest_of_bytes(blob)).write_bytes(blob)
    (folder / "oci-layout").write_bytes(LAYOUT_FILE)
    (folder / "index.json").write_bytes(layout_index(manifest, platform, {"org.opencontainers.image.ref.name": name}))
    return Image(
        name=name,
        layout=folder,
        manifest_digest=digest_of_bytes(manifest),
        config_digest=digest_of_bytes(config),
        layer=taken[-1],
        architecture=architecture,
        size=len(manifest) + len(config) + sum(each.size for each in taken),
        base_layers=tuple(taken[:-1]),
    )


def with_annotations(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The key of a manifest or an index that has annotations: sorted, and not there if there are none."""
    return {"annotations": dict(sorted(annotations.items()))} if annotations else {}


def annotations_of(image: Image) -> dict[str, str]:
    """The annotations of an image's manifest."""
    manifest = json.loads(blob_path(image.layout, image.manifest_digest).read_bytes())
    return dict(manifest.get("annotations", {}))


def blob_path(layout: Path, digest: str) -> Path:
    """The path of a blob in a layout."""
    return layout / "blobs" / digest.replace(":", "/")


def encoded(value: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """JSON as Go's encoding/json writes it, compact or indented."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators).translate(_ESCAPES).encode()


def layout_index(manifest: bytes, platform: Mapping[str, str], annotations: Mapping[str, str]) -> bytes:
    """The index.json of a layout with one image."""
    descriptor = _descriptor(MANIFEST_TYPE, digest_of_bytes(manifest), len(manifest))
    listed = descriptor | ({"annotations": dict(annotations)} if annotations else {}) | {"platform": dict(platform)}
    return encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [listed]})


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _manifest(config: bytes, layers: Sequence[Layer], annotations: Mapping[str, str]) -> dict[str, Any]:
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of_bytes(config), len(config)),
        "layers": [_descriptor(LAYER_TYPE, layer.digest, layer.size) for layer in layers],
    }
    return manifest | with_annotations(annotations)


def _config(
    layers: Sequence[Layer],
    settings: ImageSettings,
    name: str,
    platform: Mapping[str, str],
    epoch: int,
    base_config: Mapping[str, Any],
) -> dict[str, Any]:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields: dict[str, Any] = {
        **platform,
        "config": container_config(settings, base_config.get("config", {})),
        "created": created,
        "history": _history(
            base_config.get("history") or [], layers, {"created": created, "created_by": f"baseforge build {name}"}
        ),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    return dict(sorted(fields.items()))


def _history(
    inherited_history: Sequence[Mapping[str, Any]], layers: Sequence[Layer], own: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The base image's history, and our own entry if the last layer has none."""
    of_layers = sum(not each.get("empty_layer") for each in inherited_history)
    return [*inherited_history, *([own] if of_layers < len(layers) else [])]


def container_config(settings: ImageSettings, base_config: Mapping[str, Any]) -> dict[str, Any]:
    """The image's settings in the order of Go's `ImageConfig`; as there, empty values are left out.

    The variables are sorted, PATH first: their order in a recipe means nothing, so it must not change the digest. What
    a recipe does not set is inherited from the base image; as in a Dockerfile, a new entry point does not inherit CMD.
    """
    inherited = dict(pair.split("=", 1) for pair in base_config.get("Env") or [])
    environment = {"PATH": DEFAULT_PATH} | dict(sorted({**inherited, **settings.env}.items()))
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
    inherits = {key: value for key, value in base_config.items() if key != "Cmd" or not settings.entrypoint}
    sets = {key: _override(inherits.get(key), value) for key, value in fields.items()}
    sets |= {key: inherits.get(key) for key in DOCKER_KEYS}
    return {key: value for key, value in sets.items() if value}


def _override(inherited: Any, own: Any) -> Any:  # noqa: ANN401 - whatever a config can say
    """The image's own setting, or else the inherited one. Mappings such as labels are merged and sorted."""
    if isinstance(own, Mapping):
        return dict(sorted({**(inherited or {}), **own}.items()))
    return own or inherited


def _taken(layer: Layer, layout: Path) -> Layer:
    """Put a layer into the layout: as a hard link, or as a copy if it is on another file system."""
    target = blob_path(layout, layer.digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # two layers may be the same
    try:
        target.hardlink_to(layer.path)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copyfile(layer.path, target)
    return replace(layer, path=target)
