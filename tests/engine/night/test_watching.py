"""The watch: what it asks archives for, and which images it has built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.config.options import BuildOptions
from flows.inputs.resolve import architectures, resolve_platform
from flows.night.watching import Changes, find_changes, keep_watched, look, read_watched
from flows.publish.newest import move_latest
from flows.publish.record import Record
from flows.runtime.context import Context
from rootfs.errors import BaseforgeError
from rootfs.recipe.recipe import find_recipe, read_recipe
from tests.support.contexts import context
from tests.support.debian import POCKETS, SUITE, Archive, Deb, Served, Signer, own_addresses, served, signer

APP = "kind: scratch\nsuite: trixie\npackages: [{package}]\n"
OWN = "linux/amd64"


@dataclass
class Site:
    """A factory with an archive of its own. Each `context` is that of another run."""

    folder: Path
    archive: Archive
    server: Served

    @property
    def context(self) -> Context:
        keyrings = {"debian": self.archive.signer.keyring}
        mirrors = dict.fromkeys(own_addresses(), self.server.address)
        return context(self.folder, recipes=(self.folder / "recipes",), mirrors=mirrors, keyrings=keyrings)

    def recipe(self, name: str, text: str) -> None:
        (self.folder / "recipes").mkdir(exist_ok=True)
        (self.folder / f"recipes/{name}.yaml").write_text(text)

    def build(self, image: str, number: int = 1) -> None:
        """Note a build of what the archive has now."""
        ctx = self.context
        file = find_recipe(image, *ctx.settings.recipes)
        recipe = read_recipe(file, image, ctx.settings.recipes)
        [inputs] = [resolve_platform(ctx, recipe, file, each) for each in architectures(recipe, BuildOptions())]
        made = Record(
            image=image,
            build=f"2026120{number}T000000Z-1a2b3c4d",
            number=number,
            status="published",
            platforms=(OWN,),
            input_digest=inputs.digest,
            lock=inputs.lock,
            parent=inputs.base,
            manifest_digest=f"sha256:{number:064}",
        )
        ctx.store.create_document(made.key, made.model_dump_json().encode())
        move_latest(ctx.store, image, made.build, "a new build")

    def watch(self) -> Changes:
        """One look, as the flow takes it."""
        ctx = self.context
        found = find_changes(ctx, look(ctx), read_watched(ctx.store))
        keep_watched(ctx.store, found.after)
        return found


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, key: Signer) -> Iterator[Site]:
    with served(tmp_path / "archive") as server:
        archive = Archive(tmp_path / "archive", key)
        archive.publish(Deb("app", "1"), Deb("tool", "1"))
        for pocket in POCKETS:
            archive.publish(suite=f"{SUITE}-{pocket}")
        made = Site(tmp_path, archive, server)
        made.recipe("app", APP.format(package="app"))
        made.recipe("tool", APP.format(package="tool"))
        made.recipe("plain", "kind: scratch\nfiles: [{path: /a, content: a}]\n")
        for image in ("app", "tool"):
            made.build(image)
        yield made


def test_image_whose_package_has_an_update_is_built(site: Site) -> None:
    assert site.watch().images == ()
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app",)


def test_update_before_the_first_look_counts(site: Site) -> None:
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app",)


def test_nothing_is_fetched_when_nothing_has_changed(site: Site) -> None:
    site.watch()
    site.server.asked.clear()
    assert site.watch().images == ()
    assert {status for _, status in site.server.asked} == {304}
    assert sorted(path.rpartition("/")[2] for path, _ in site.server.asked) == ["InRelease"] * 3


def test_archive_that_is_only_signed_anew_changes_no_image(site: Site) -> None:
    site.watch()
    site.archive.publish(Deb("app", "1"), Deb("tool", "1"), Label="another")
    assert site.watch().images == ()


def test_image_is_tried_once_for_the_same_packages(site: Site) -> None:
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app",)
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security", Label="signed anew")
    assert site.watch().images == ()
    site.archive.publish(Deb("app", "3"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app",)


def test_image_that_was_never_built_is_left_to_the_night(site: Site) -> None:
    site.recipe("new", APP.format(package="app"))
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app",)


def test_images_that_build_on_a_changed_one_are_built_after_it(site: Site) -> None:
    site.recipe("a-child", "kind: dockerfile\ncontexts: {base: app}\n")
    (site.folder / "recipes/a-child").mkdir()
    (site.folder / "recipes/a-child/Dockerfile").write_text("FROM base\n")
    site.recipe("b-child", "kind: dockerfile\ncontexts: {base: a-child}\n")
    (site.folder / "recipes/b-child").mkdir()
    (site.folder / "recipes/b-child/Dockerfile").write_text("FROM base\n")
    for image in ("a-child", "b-child"):
        made = Record(image=image, build="20261201T000000Z-1", status="published", number=1)
        site.context.store.create_document(made.key, made.model_dump_json().encode())
        move_latest(site.context.store, image, made.build, "a new build")
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("app", "a-child", "b-child")


def test_recipe_with_a_mistake_costs_only_its_image(site: Site) -> None:
    site.recipe("wrong", "kind: scratch\nsuit: trixie\n")
    site.archive.publish(Deb("app", "2"), suite=f"{SUITE}-security")
    found = site.watch()
    assert found.images == ("app",)
    assert found.problems.keys() == {"wrong"}


def test_what_could_not_be_resolved_is_looked_at_again(site: Site) -> None:
    site.archive.publish(Deb("tool", "2", depends="nowhere"), suite=f"{SUITE}-security")
    found = site.watch()
    assert (found.images, found.problems.keys()) == ((), {"tool"})
    site.archive.publish(Deb("tool", "2"), suite=f"{SUITE}-security")
    assert site.watch().images == ("tool",)


def test_archive_that_has_nothing_any_more_is_an_error(site: Site) -> None:
    site.server.damage = lambda path, body: None
    with pytest.raises(BaseforgeError, match="trixie"):
        site.watch()
