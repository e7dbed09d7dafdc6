"""Publication alone, without Prefect, an archive or a smoke test: a toy image from its layout to its names."""

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

from flows import build, published_names
from flows.builders import image_import
from flows.builders.image_import import EngineBuilder
from flows.config.options import Choice
from flows.config.settings import Settings
from flows.description import describe, describe_all
from flows.image.index import Index, join
from flows.image.oci import Image
from flows.inputs import resolve
from flows.inputs.resolve import Inputs
from flows.inputs.tree import empty_folder
from flows.orchestration.step import Step
from flows.platform_build import Part
from flows.publish import newest
from flows.publish import records as publication
from flows.publish.record import Record, UsedBuilder
from flows.publish_tasks import published
from flows.runtime.context import Session, current, new_run, session, store_of
from flows.smoke.run import Verdict
from flows.store.base import Store
from flows.tasks import Packed
from rootfs.elf.linkage import Closure
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
                "recipes": self.folder / "recipes",
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
    def session(self) -> Iterator[Session]:
        """A session in which steps are no tasks of Prefect's."""
        with patch.object(Step, "__call__", Step.fn), session(self.settings) as here:
            yield here

    def build(self, text: str, *platforms: str, publish: bool = True) -> Record:
        """One run, as the flow does it: what is there already gets its names, else it is published."""
        self.write(text, *platforms)
        with self.session(), new_run(NAME):
            choice = Choice(publish=publish)
            existing = published_names.already_built.fn(resolve.meant(NAME, choice), choice)
            return (existing and build.reused(existing)) or self.publish()

    def write(self, text: str, *platforms: str) -> None:
        """Write the recipe."""
        (self.folder / "recipes").mkdir(parents=True, exist_ok=True)
        said = RECIPE.format(text=text, platforms=", ".join(platforms or (OWN,)))
        (self.folder / f"recipes/{NAME}.yaml").write_text(said)

    def publish(self) -> Record:
        """Publish what the recipe says; a session and a run are in force."""
        return self.finish(*self.parts())

    def finish(self, made: Image | Index, done: Record, parts: list[Part]) -> Record:
        """The last steps of a build."""
        return published(made, done, parts)

    def parts(self) -> tuple[Image | Index, Record, list[Part]]:
        """What a run has made before it publishes; the images are in the engine."""
        wanted = resolve.meant(NAME, Choice())
        place = empty_folder(self.folder / "made")
        made = [_part(each, empty_folder(place / each.architecture)) for each in wanted.parts]
        if len(made) == 1:
            return made[0].image, made[0].record, made
        index = join([each.image for each in made], empty_folder(place / "index"))
        return index, describe_all(wanted, index, [each.record for each in made]), made

    def gc(self) -> list[str]:
        """The part of housekeeping that moves names; returns the images that needed it."""
        with self.session() as here:
            here.store.sweep()
            found = published_names.unfinished(here)
            for image in found:
                published_names.finish.fn(image)
        return found

    def newest(self) -> newest.Newest:
        found = newest.read(self.open(), NAME)
        assert found
        return found

    def records(self) -> list[Record]:
        store = self.open()
        keys = store.list_documents(f"images/{NAME}/builds")
        return [publication.build_of(store, f"{NAME}@{key.rsplit('/', 1)[1].removesuffix('.json')}") for key in keys]

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


def _part(wanted: Inputs, place: Path) -> Part:
    text = wanted.recipe.model_dump_json().encode()
    made = image_of({"text": text}, place / "image", name=NAME, architecture=wanted.architecture)
    image_id = image_import.import_image(made, EngineBuilder(current().engine()))
    packed = Packed(made.layer, {}, Closure(""), "", 0)
    record = describe(wanted, made, packed, UsedBuilder(name="default", driver="docker"), Verdict(()))
    return Part(wanted, made, image_id, packed, record)
