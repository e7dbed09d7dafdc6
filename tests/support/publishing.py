"""Publish a toy image without Prefect, an archive or a smoke test."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from flows import build
from flows.builders import image_import
from flows.builders.image_import import EngineBuilder
from flows.config.options import BuildOptions
from flows.config.settings import Settings
from flows.image.index import Index, combine_images
from flows.image.oci import Image
from flows.inputs.resolve import Inputs, resolve_image
from flows.orchestration.step import Step
from flows.platform_build import PlatformImage, describe
from flows.publish import newest
from flows.publish import stored_builds as publication
from flows.publish.record import Record, SmokeCounts, UsedBuilder
from flows.publish_tasks import describe_all, publish
from flows.published_names import find_existing, finish_names, images_to_finish
from flows.runtime.context import BuildContext, Context, open_build, open_context, store_of
from flows.runtime.workdir import empty_folder
from flows.store.store import Store
from flows.tasks import PackedLayer
from rootfs.checks.build_state import BuildState
from rootfs.checks.startup import StartCheck
from rootfs.elf.linkage import LinkageCheck
from tests.support.samples import image_of

NAME = "toy"
RECIPE = "kind: scratch\nplatforms: [{platforms}]\nfiles: [{{path: /text, content: {text}}}]\n"
OWN, FOREIGN = "linux/amd64", "linux/arm64"
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")


@dataclass(frozen=True)
class Press:
    """A site with one toy image, whose recipe is given with each build."""

    folder: Path
    store: str
    local_name: str
    registry: str = ""
    more: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        (self.folder / "work").mkdir(parents=True, exist_ok=True)
        return Settings.model_validate(
            {
                "store": self.store,
                "recipes": (self.folder / "recipes",),
                "work": self.folder / "work",
                "memory": None,
                "registry": self.registry,
                "registry_insecure": True,
                "local_name": self.local_name,
                **self.more,
            }
        )

    def open(self) -> Store:
        return store_of(self.settings)

    @contextmanager
    def context(self) -> Iterator[Context]:
        """A context, while steps are no tasks of Prefect's."""
        with patch.object(Step, "__call__", Step.fn), open_context(self.settings) as ctx:
            yield ctx

    @contextmanager
    def building(self, *, publish: bool = True) -> Iterator[BuildContext]:
        """A context for a build of the image."""
        with self.context() as ctx, open_build(ctx, NAME, BuildOptions(publish=publish)) as build_ctx:
            yield build_ctx

    def build(self, text: str, *platforms: str, publish: bool = True) -> Record:
        """One run, as the flow does it: what is there already gets its names, else it is published."""
        self.write(text, *platforms)
        with self.building(publish=publish) as ctx:
            existing = find_existing.fn(ctx, resolve_image(ctx))
            return (existing and build.reuse(ctx, existing)) or self.publish(ctx)

    def write(self, text: str, *platforms: str) -> None:
        """Write the recipe."""
        (self.folder / "recipes").mkdir(parents=True, exist_ok=True)
        said = RECIPE.format(text=text, platforms=", ".join(platforms or (OWN,)))
        (self.folder / f"recipes/{NAME}.yaml").write_text(said)

    def publish(self, ctx: BuildContext) -> Record:
        """Publish what the recipe says."""
        return publish(ctx, *self.make(ctx))

    def make(self, ctx: BuildContext) -> tuple[Image | Index, Record, list[PlatformImage]]:
        """What a run has made before it publishes; the images are in the engine."""
        inputs = resolve_image(ctx)
        place = empty_folder(self.folder / "made")
        made = [_platform_image(ctx, each, empty_folder(place / each.architecture)) for each in inputs.platforms]
        if len(made) == 1:
            return made[0].image, made[0].record, made
        index = combine_images([each.image for each in made], empty_folder(place / "index"))
        return index, describe_all(inputs, index, [each.record for each in made]), made

    def gc(self) -> list[str]:
        """The part of housekeeping that moves names; returns the images that needed it."""
        with self.context() as ctx:
            ctx.store.sweep()
            found = images_to_finish(ctx)
            for image in found:
                finish_names.fn(ctx, image)
        return found

    def newest(self) -> newest.Newest:
        found = newest.read(self.open(), NAME)
        assert found
        return found

    def records(self) -> list[Record]:
        store = self.open()
        keys = store.list_documents(f"images/{NAME}/builds")
        return [publication.find_build(store, f"{NAME}@{key.rsplit('/', 1)[1].removesuffix('.json')}") for key in keys]

    def tags(self) -> dict[str, str]:
        """The tags in the registry, each with its digest."""
        try:
            listed = json.loads(self.ask("tags/list")[1])["tags"] or ()
        except urllib.error.HTTPError as error:
            if error.code != 404:  # it knows no list before the first tag
                raise
            return {}
        return {tag: self.ask(f"manifests/{tag}")[0] for tag in listed}

    def ask(self, path: str, method: str = "GET") -> tuple[str, bytes]:
        """The registry's answer about the image: the digest it names, and the body."""
        host, _, prefix = self.registry.partition("/")
        url = f"http://{host}/v2/{prefix}{'/' if prefix else ''}{NAME}/{path}"
        asked = urllib.request.Request(url, method=method, headers={"Accept": ", ".join(MANIFESTS)})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.headers.get("Docker-Content-Digest", ""), answer.read()

    def in_engine(self, tag: str = "latest") -> str:
        """The id of the image that a name in the engine means; empty where it means none."""
        words = ["docker", "image", "inspect", "--format", "{{.Id}}", f"{self.local_name}/{NAME}:{tag}"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()

    def clear_engine(self) -> None:
        """Take the names away that were given in the engine."""
        for tag in ("latest", "latest-arm64"):
            if self.in_engine(tag):
                subprocess.run(["docker", "rmi", f"{self.local_name}/{NAME}:{tag}"], check=True, capture_output=True)


def _platform_image(ctx: BuildContext, inputs: Inputs, place: Path) -> PlatformImage:
    text = inputs.recipe.model_dump_json().encode()
    image = image_of({"text": text}, place / "image", name=NAME, architecture=inputs.architecture)
    image_id = image_import.import_image(image, EngineBuilder(ctx.engine()))
    packed = PackedLayer(image.layer, {}, LinkageCheck(""), BuildState(0), StartCheck(), "", 0)
    record = describe(
        ctx, inputs, image, packed, UsedBuilder(name="default", driver="docker"), SmokeCounts(passed=0, failed=0)
    )
    return PlatformImage(inputs, image, image_id, packed, record)
