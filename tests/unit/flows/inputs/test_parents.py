"""What a layer is laid on: which build, and what the store has of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.build import make_parents
from flows.config.options import Choice
from flows.config.settings import Settings
from flows.image.oci import Image, Parent
from flows.inputs import parents, resolve
from flows.inputs.parents import Ground
from flows.publish import records, sources_bundle
from flows.publish.record import ParentBuild, Record
from flows.runtime.context import Session, session
from rootfs.errors import BlobMissing, BuildError, InputError
from rootfs.lock.lock import Lock
from rootfs.process.host import native_architecture
from rootfs.recipe.base_images import lineage
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import find, read
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import canonical_digest
from rootfs.system.platforms import platform_name
from rootfs.tree.errors import BadTree
from rootfs.tree.merge import Stack, members_of, tree_of
from tests.support.samples import EPOCH, image_of, layered

BASE = "kind: debootstrap\nsuite: trixie\n"
STATUS = "var/lib/dpkg/status"
OWN = platform_name(native_architecture())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with a layer on a layer."""
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name, text in {"base": BASE, "mid": "kind: layer\nfrom: base\n", "top": "kind: layer\nfrom: mid\n"}.items():
        (recipes / f"{name}.yaml").write_text(text)
    (work := tmp_path / "work").mkdir()
    with session(Settings(store=str(tmp_path / "store"), recipes=recipes, work=work)) as here:
        yield here


def record(image: str, status: str = "published", build: str = "20261101T000000Z-1", digest: str = "m") -> Record:
    said = {"image": image, "build": build, "status": status, "input_digest": canonical_digest(f"{image}{build}")}
    return Record.model_validate({**said, "manifest_digest": canonical_digest(digest), "platforms": [OWN]})


def recorded(site: Session, of: Record) -> None:
    """Write a record whose image is not in the store."""
    site.store.create_document(of.key, of.model_dump_json().encode())


def layer(site: Session, name: str = "mid") -> LayerRecipe:
    found = read(find(name, site.settings.recipes))
    assert isinstance(found, LayerRecipe)
    return found


def test_a_layer_is_laid_on_what_this_session_has_built(site: Session) -> None:
    recorded(site, record("base", digest="old"))
    assert parents.build_below("mid", "base", OWN).manifest_digest == canonical_digest("old")
    site.done["base"] = record("base", "unchanged", "20261102T000000Z-1", "new")
    assert parents.build_below("mid", "base", OWN) == ParentBuild(
        image="base", build="20261102T000000Z-1", manifest_digest=canonical_digest("new")
    )


def test_a_failed_parent_and_one_that_is_not_in_the_store(site: Session) -> None:
    with pytest.raises(InputError, match="baseforge build base"):
        parents.build_below("mid", "base", OWN)
    recorded(site, record("base"))
    site.done["base"] = record("base", "built")
    with pytest.raises(InputError, match="the store has no current build of"):
        parents.build_below("mid", "base", OWN)
    site.done["base"] = record("base", "failed")
    with pytest.raises(BuildError, match="mid was not built, because its base image base could not be built") as failed:
        parents.build_below("mid", "base", OWN)
    assert failed.value.status == 1


def test_a_parent_is_that_of_the_same_platform(site: Session) -> None:
    parts = tuple(record("base", digest=name).model_copy(update={"platforms": (name,)}) for name in (OWN, "linux/386"))
    site.done["base"] = record("base", digest="both").model_copy(
        update={"platforms": (OWN, "linux/386"), "parts": parts}
    )
    assert parents.build_below("mid", "base", "linux/386").manifest_digest == canonical_digest("linux/386")
    assert parents.build_below("mid", "base", OWN).manifest_digest == canonical_digest(OWN)
    with pytest.raises(InputError, match="mid is for linux/s390x, but its base image base") as lacking:
        parents.build_below("mid", "base", "linux/s390x")
    assert lacking.value.status == 2


def test_parents_are_built_once_the_lowest_first(site: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("flows.build.attempt", lambda image, _: asked.append(image))
    make_parents("top", Choice())
    assert asked == ["base", "mid"]
    site.done["base"] = record("base")
    make_parents("top", Choice())
    assert asked == ["base", "mid", "mid"]


def test_the_input_digest_has_the_parents_manifest(site: Session) -> None:
    site.done["base"] = record("base", digest="one")
    one = resolve.meant("mid", Choice()).parts[0]
    assert one.parent
    assert (one.lock, one.parent.build, [each.name for each in one.lineage]) == (
        Lock(),
        "20261101T000000Z-1",
        ["base", "mid"],
    )
    site.done["base"] = record("base", build="20261109T000000Z-1", digest="one")
    assert resolve.meant("mid", Choice()).parts[0].digest == one.digest
    site.done["base"] = record("base", digest="two")
    assert resolve.meant("mid", Choice()).parts[0].digest != one.digest


def test_ingredients_have_the_recipes_that_it_stands_on(site: Session, tmp_path: Path) -> None:
    (site.settings.recipes / "base").mkdir()
    (site.settings.recipes / "base/unnamed").touch()
    site.done["mid"] = record("mid")
    wanted = resolve.meant("top", Choice()).parts[0]
    (tmp_path / "again").mkdir()
    file = sources_bundle.unpack(site.store, sources_bundle.keep(site.store, *lineage(wanted.file)), tmp_path / "again")
    found = sorted(str(path.relative_to(tmp_path / "again")) for path in (tmp_path / "again").rglob("*"))
    assert (file.name, found) == ("top.yaml", ["base", "base.yaml", "base/unnamed", "mid.yaml", "top.yaml"])
    assert read(file) == wanted.recipe


def kept(site: Session, image: Image) -> ParentBuild:
    records.keep_blobs(site.store, image)
    return ParentBuild(image="base", build="1", manifest_digest=image.manifest_digest)


def test_an_image_is_laid_out_as_it_is(site: Session, tmp_path: Path) -> None:
    image = layered({"a": b"a", "gone": b""}, {"b": b"b", ".wh.gone": b""}, tmp_path / "made")
    parent = kept(site, image)
    (tmp_path / "laid").mkdir()
    ground = parents.lay_out(site.store, parent, tmp_path / "laid")
    assert [replace(each, path=Path()) for each in ground.image.layers] == [
        replace(each, path=Path()) for each in image.layers
    ]
    assert ground.stack.epoch == EPOCH
    assert ground.image.config["rootfs"]["diff_ids"] == [each.diff_id for each in image.layers]
    with tree_of(ground.stack.tars) as tree:
        assert [member.path for member in members_of(tree)] == ["a", "b"]
    assert parents.size_of(site.store, parent) == sum(each.size for each in image.layers)
    for each in image.layers:
        site.store.drop_blob(each.digest)
    with pytest.raises(BlobMissing):
        parents.lay_out(site.store, parent, tmp_path / "laid")


@pytest.mark.parametrize("upper", [{"x": b""}, {STATUS: b"Package: b\n"}])
def test_the_highest_status_file_counts_and_is_kept(site: Session, upper: dict[str, bytes], tmp_path: Path) -> None:
    image = layered({STATUS: b"Package: a\n"}, upper, tmp_path / "made")
    under = parents.below(layer(site), kept(site, image))
    path = under.status()
    assert path.read_bytes() == upper.get(STATUS, b"Package: a\n")
    for each in image.layers:
        site.store.drop_blob(each.digest)
    assert under.status() == path


def test_an_image_without_dpkg(site: Session, tmp_path: Path) -> None:
    with pytest.raises(BadTree, match="nothing can be installed on it"):
        parents.below(layer(site), kept(site, image_of({"a": b""}, tmp_path / "made"))).status()


GROUND = Ground(Parent((), {"config": {"Env": ["PATH=/bin", "LD_LIBRARY_PATH=/opt=lib"]}}), Stack((), 7))


def test_the_parents_library_path_and_time_count() -> None:
    assert parents.library_path(ImageSettings(), None) == ""
    assert parents.library_path(ImageSettings(), GROUND) == "/opt=lib"
    assert parents.library_path(ImageSettings(env={"LD_LIBRARY_PATH": "/own"}), GROUND) == "/own"
    assert (parents.epoch(0, GROUND), parents.epoch(0, None)) == (7, 0)
