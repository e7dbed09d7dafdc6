"""Base images: which build of each is used, and what the store has of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.build import build_base_images
from flows.config.options import BuildOptions
from flows.image.oci import BaseImage, Image
from flows.inputs import base_images
from flows.inputs.base_images import Foundation, base_build
from flows.inputs.resolve import Inputs, resolve_image
from flows.publish import sources_bundle, stored_builds
from flows.publish.record import BaseImageBuild, Record
from flows.runtime.context import Context
from flows.store.keys import blob_key
from rootfs.errors import BlobMissing, BuildError, InputError
from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.recipe.base_images import lineage_files
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import find_recipe, read_recipe
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import canonical_digest
from rootfs.system.platforms import platform_name
from rootfs.tree.errors import BadTree
from rootfs.tree.merge import LayerStack, members_of, merge_layers
from tests.support.contexts import build_context, context
from tests.support.samples import EPOCH, image_of, layered

BASE = "kind: debootstrap\nsuite: trixie\n"
STATUS = "var/lib/dpkg/status"
OWN = platform_name(native_architecture())


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    """A context whose recipes are a layer on a layer."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name, text in {"base": BASE, "mid": "kind: layer\nfrom: base\n", "top": "kind: layer\nfrom: mid\n"}.items():
        (recipes / f"{name}.yaml").write_text(text)
    (work := tmp_path / "work").mkdir()
    return context(tmp_path, recipes=(recipes,), work=work)


def inputs_of(ctx: Context, image: str) -> Inputs:
    """The inputs of an image for this machine's platform."""
    return resolve_image(build_context(ctx, image)).platforms[0]


def record(image: str, status: str = "published", build: str = "20261101T000000Z-1", digest: str = "m") -> Record:
    said = {"image": image, "build": build, "status": status, "input_digest": canonical_digest(f"{image}{build}")}
    return Record.model_validate({**said, "manifest_digest": canonical_digest(digest), "platforms": [OWN]})


def recorded(ctx: Context, of: Record) -> None:
    """Write a record whose image is not in the store."""
    ctx.store.create_document(of.key, of.model_dump_json().encode())


def layer(ctx: Context, name: str = "mid") -> LayerRecipe:
    found = read_recipe(find_recipe(name, *ctx.settings.recipes))
    assert isinstance(found, LayerRecipe)
    return found


def test_a_layer_is_built_on_the_base_image_that_this_command_has_built(ctx: Context) -> None:
    recorded(ctx, record("base", digest="old"))
    assert base_build(ctx, "mid", "base", OWN).manifest_digest == canonical_digest("old")
    ctx.results["base"] = record("base", "unchanged", "20261102T000000Z-1", "new")
    assert base_build(ctx, "mid", "base", OWN) == BaseImageBuild(
        image="base", build="20261102T000000Z-1", manifest_digest=canonical_digest("new")
    )


def test_a_failed_base_image_and_one_that_is_not_in_the_store(ctx: Context) -> None:
    with pytest.raises(InputError, match="baseforge build base"):
        base_build(ctx, "mid", "base", OWN)
    recorded(ctx, record("base"))
    ctx.results["base"] = record("base", "built")
    with pytest.raises(InputError, match="the store has no current build of"):
        base_build(ctx, "mid", "base", OWN)
    ctx.results["base"] = record("base", "failed")
    with pytest.raises(BuildError, match="mid was not built, because its base image base could not be built") as failed:
        base_build(ctx, "mid", "base", OWN)
    assert failed.value.status == 1


def test_the_base_image_is_that_of_the_same_platform(ctx: Context) -> None:
    parts = tuple(record("base", digest=name).model_copy(update={"platforms": (name,)}) for name in (OWN, "linux/386"))
    ctx.results["base"] = record("base", digest="both").model_copy(
        update={"platforms": (OWN, "linux/386"), "parts": parts}
    )
    assert base_build(ctx, "mid", "base", "linux/386").manifest_digest == canonical_digest("linux/386")
    assert base_build(ctx, "mid", "base", OWN).manifest_digest == canonical_digest(OWN)
    with pytest.raises(InputError, match="mid is for linux/s390x, but its base image base") as lacking:
        base_build(ctx, "mid", "base", "linux/s390x")
    assert lacking.value.status == 2


def test_base_images_are_built_once_the_lowest_first(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("flows.build.attempt", lambda _ctx, image, _options: asked.append(image))
    build_base_images(ctx, "top", BuildOptions())
    assert asked == ["base", "mid"]
    ctx.results["base"] = record("base")
    build_base_images(ctx, "top", BuildOptions())
    assert asked == ["base", "mid", "mid"]


def test_the_input_digest_has_the_manifest_digest_of_the_base_image(ctx: Context) -> None:
    ctx.results["base"] = record("base", digest="one")
    one = inputs_of(ctx, "mid")
    assert one.base
    assert (one.lock, one.base.build, [each.name for each in one.lineage]) == (
        Lock(),
        "20261101T000000Z-1",
        ["base", "mid"],
    )
    ctx.results["base"] = record("base", build="20261109T000000Z-1", digest="one")
    assert inputs_of(ctx, "mid").digest == one.digest
    ctx.results["base"] = record("base", digest="two")
    assert inputs_of(ctx, "mid").digest != one.digest


def test_ingredients_have_the_recipes_of_base_images(ctx: Context, tmp_path: Path) -> None:
    (ctx.settings.recipes[0] / "base").mkdir()
    (ctx.settings.recipes[0] / "base/unnamed").touch()
    ctx.results["mid"] = record("mid")
    inputs = inputs_of(ctx, "top")
    (tmp_path / "again").mkdir()
    file = sources_bundle.unpack_sources(
        ctx.store, sources_bundle.keep_sources(ctx.store, *lineage_files(inputs.file)), tmp_path / "again"
    )
    found = sorted(str(path.relative_to(tmp_path / "again")) for path in (tmp_path / "again").rglob("*"))
    assert (file.name, found) == ("top.yaml", ["base", "base.yaml", "base/unnamed", "mid.yaml", "top.yaml"])
    assert read_recipe(file) == inputs.recipe


def kept(ctx: Context, image: Image) -> BaseImageBuild:
    stored_builds.keep_blobs(ctx.store, image)
    return BaseImageBuild(image="base", build="1", manifest_digest=image.manifest_digest)


def test_the_base_image_s_layers_are_unpacked_unchanged(ctx: Context, tmp_path: Path) -> None:
    image = layered({"a": b"a", "gone": b""}, {"b": b"b", ".wh.gone": b""}, tmp_path / "made")
    parent = kept(ctx, image)
    (tmp_path / "laid").mkdir()
    foundation = base_images.fetch_layers(ctx.store, parent, tmp_path / "laid")
    assert [replace(each, path=Path()) for each in foundation.image.layers] == [
        replace(each, path=Path()) for each in image.layers
    ]
    assert foundation.stack.epoch == EPOCH
    assert foundation.image.config["rootfs"]["diff_ids"] == [each.diff_id for each in image.layers]
    with merge_layers(foundation.stack.tars) as tree:
        assert [member.path for member in members_of(tree)] == ["a", "b"]
    assert base_images.size_of(ctx.store, parent) == sum(each.size for each in image.layers)
    for each in image.layers:
        (tmp_path / "store" / blob_key(each.digest)).unlink()
    with pytest.raises(BlobMissing):
        base_images.fetch_layers(ctx.store, parent, tmp_path / "laid")


@pytest.mark.parametrize("upper", [{"x": b""}, {STATUS: b"Package: b\n"}])
def test_the_status_file_of_the_highest_layer_counts(ctx: Context, upper: dict[str, bytes], tmp_path: Path) -> None:
    image = layered({STATUS: b"Package: a\n"}, upper, tmp_path / "made")
    under = base_images.installed_in(ctx, layer(ctx), kept(ctx, image))
    path = under.status()
    assert path.read_bytes() == upper.get(STATUS, b"Package: a\n")
    for each in image.layers:
        (tmp_path / "store" / blob_key(each.digest)).unlink()
    assert under.status() == path


def test_an_image_without_dpkg(ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(BadTree, match="nothing can be installed on it"):
        base_images.installed_in(ctx, layer(ctx), kept(ctx, image_of({"a": b""}, tmp_path / "made"))).status()


FOUNDATION = Foundation(
    BaseImage((), {"config": {"Env": ["PATH=/bin", "LD_LIBRARY_PATH=/opt=lib"]}}), LayerStack((), 7)
)


def test_the_base_images_library_path_and_time_count() -> None:
    assert base_images.library_path(ImageSettings(), None) == ""
    assert base_images.library_path(ImageSettings(), FOUNDATION) == "/opt=lib"
    assert base_images.library_path(ImageSettings(env={"LD_LIBRARY_PATH": "/own"}), FOUNDATION) == "/own"
    assert (base_images.epoch_on(FOUNDATION, 0), base_images.epoch_on(None, 0)) == (7, 0)
