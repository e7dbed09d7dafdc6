"""Compare a build with one made again: each digest of the chain, recorded and found, and what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from flows.image.oci import Image
from flows.publish.errors import not_a_digest
from flows.publish.record import Record
from flows.store.store import Store
from rootfs.errors import BlobMissing
from rootfs.lock.lock import Lock, Package
from rootfs.process.run import Log
from rootfs.recipe.sections import TARBALL_NAME
from rootfs.system.digests import sha256_of_file
from rootfs.tree.compare import compare_layers
from rootfs.tree.content_diff import ContentPair, describe_difference

SHOWN = 20  # differences
LONGEST = 4 << 20  # bytes of a manifest: the limit of registries
INPUTS = ("recipe", "lock", "input")  # links that are the same however often the image is made
MANIFEST = "manifest"  # the link that only an image that was made again has
DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


class Link(BaseModel):
    """One digest of the chain of digests."""

    model_config = ConfigDict(frozen=True)

    name: str
    recorded: str
    found: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def same(self) -> bool:
        """Whether the digest found is the one recorded."""
        return self.recorded == self.found


class Verification(BaseModel):
    """The result of making a build again.

    `tools` has the tools' versions of then and now, an empty one for a missing tool. `different` counts what differs
    between the two images, and `differences` describes the first of these. `seconds` is wall time by step.
    `no_because` is a recipe's reason for not being repeatable: a difference of the images is then no failure, and one
    that a builder makes was not made again. `damage` names the blobs
    of the build that are missing or damaged in the store, whatever the comparison found.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    build: str
    links: tuple[Link, ...]
    tools: dict[str, tuple[str, str]]
    differences: tuple[str, ...] = ()
    different: int = 0
    seconds: dict[str, float] = {}
    no_because: str = ""
    damage: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Literal["reproduced", "differs", "damaged", "not repeatable"]:
        """Whether every digest is the same, or may differ, and the store has every blob of the build."""
        if any(name.split()[-1] in INPUTS or not self.no_because for name in self.other):
            return "differs"
        if self.damage:
            return "damaged"
        compared = any(link.name.endswith(MANIFEST) for link in self.links)
        return "not repeatable" if self.no_because and (self.other or not compared) else "reproduced"

    @property
    def ending(self) -> str:
        """The result in one phrase."""
        other = [f"another {', '.join(self.other)}"] if self.other else []
        damage = [f"{len(self.damage)} of its blobs are missing or damaged in the store"] if self.damage else []
        if self.status == "not repeatable":
            return self.no_because
        return "; ".join(other + damage) or self.links[-1].found

    @property
    def other(self) -> list[str]:
        """The names of the digests that are not the same."""
        return [link.name for link in self.links if not link.same]

    @property
    def other_tools(self) -> list[str]:
        """A sentence for each tool whose version has changed."""
        pairs = ((name, *versions) for name, versions in self.tools.items())
        return [f"{name} {now or 'missing'} here, {then or 'none'} then" for name, then, now in pairs if then != now]


@dataclass(frozen=True)
class ExpectedDigests:
    """The digests that an image must have; an empty one is not known."""

    diff_id: str
    layer: str
    config: str
    manifest: str

    def links(self, made: Image) -> tuple[Link, ...]:
        """Compare the known digests, from the tree to the manifest."""
        pairs = {
            "diff id": (self.diff_id, made.layer.diff_id),
            "layer": (self.layer, made.layer.digest),
            "config": (self.config, made.config_digest),
            MANIFEST: (self.manifest, made.manifest_digest),
        }
        return tuple(Link(name=name, recorded=then, found=now) for name, (then, now) in pairs.items() if then)


def expected_digests(store: Store, record: Record, against: str = "") -> ExpectedDigests:
    """The digests in a build's record, or those of another image with the manifest digest `against`.

    Raises InputError.
    """
    if not against:
        return ExpectedDigests(record.diff_id, record.layer_digest, record.config_digest, record.manifest_digest)
    manifest = parse_digest(against)
    if not (other := _document(store, manifest)):
        return ExpectedDigests("", "", "", manifest)
    try:
        config, layer = other["config"]["digest"], other["layers"][-1]["digest"]
        diff_id = _document(store, config)["rootfs"]["diff_ids"][-1]
    except (KeyError, IndexError, TypeError) as error:
        raise not_a_digest(against, "of an image") from error
    return ExpectedDigests(diff_id, layer, config, manifest)


def parse_digest(against: str) -> str:
    """The full digest that a person gave; empty if none was given. Raises InputError."""
    if against and not DIGEST.fullmatch(against):
        raise not_a_digest(against)
    return f"sha256:{against.removeprefix('sha256:')}" if against else ""


def combine(record: Record, parts: Sequence[Verification], index: str, found: str) -> Verification:
    """Combine the results for the platforms of an image. `index` is its recorded index digest; empty means unknown."""
    pairs = [(record.parts[number].platforms[0], each) for number, each in enumerate(parts)]
    links = [link.model_copy(update={"name": f"{name} {link.name}"}) for name, each in pairs for link in each.links]
    if found:
        links.append(Link(name="index", recorded=index, found=found))
    lines = [f"{name}: {line}" for name, each in pairs for line in each.differences]
    return parts[-1].model_copy(
        update={
            "links": tuple(links),
            "differences": tuple(lines[:SHOWN]),
            "different": sum(each.different for each in parts),
        }
    )


def _document(store: Store, digest: str) -> dict[str, Any]:
    """A manifest or config in the store; empty if the store does not have it. Raises InputError for another blob."""
    try:
        with store.open_blob(digest) as blob:
            return dict(json.loads(blob.read(LONGEST)))
    except BlobMissing:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise not_a_digest(digest, "of an image") from error


def compare_tools(recorded: Mapping[str, str], current: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The recorded and the current version of each tool, by name."""
    return {name: (recorded.get(name, ""), current.get(name, "")) for name in sorted({*recorded, *current})}


def lock_of_files(lock: Lock, debs: Path) -> Lock:
    """The lock of the debs or the tarball in a folder: what was really used."""
    tarball = f"sha256:{sha256_of_file(debs / TARBALL_NAME)}" if lock.tarball else ""
    packages = tuple(_actual_package(package, debs) for package in lock.packages)
    return lock.model_copy(update={"packages": packages, "tarball": tarball})


def _actual_package(package: Package, debs: Path) -> Package:
    path = debs / package.file_name
    return package.model_copy(update={"sha256": sha256_of_file(path), "size": path.stat().st_size})


def differences(store: Store, expected: ExpectedDigests, made: Image, folder: Path, log: Log) -> list[str]:
    """Describe how the image differs from the expected one, as far as the store has that. `folder` is empty."""
    try:
        if expected.layer and expected.layer != made.layer.digest:
            store.fetch_blob(expected.layer, folder / "layer")
            return [str(each) for each in compare_layers(folder / "layer", made.layer.path, folder, log)]
        if expected.config and expected.config != made.config_digest and (config := _document(store, expected.config)):
            return [f"the image's settings: {_config_difference(config, made, folder)}"]
    except BlobMissing as error:
        return [f"the store cannot show what differs: {error.message}"]
    if expected.manifest == made.manifest_digest:
        return []
    return [f"the store cannot show what differs from {expected.manifest}"]


def _config_difference(config: Mapping[str, Any], made: Image, folder: Path) -> str:
    """The difference of two configs, line by line."""
    with made.open_blob(made.config_digest) as blob:
        pair = ContentPair(folder / "old.json", folder / "new.json")
        for path, value in ((pair.old, config), (pair.new, json.load(blob))):
            path.write_text(json.dumps(value, indent=1, sort_keys=True))
    return "\n    ".join(["", *describe_difference(pair).splitlines()])
