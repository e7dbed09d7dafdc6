"""The bundle of a build's recipes and files, kept in a real store and unpacked again."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from flows.publish import sources_bundle
from flows.store.open import open_store
from rootfs.errors import BlobDamaged, BlobMissing, BuildError, RecipeInvalid
from rootfs.recipe.base_images import lineage_files
from rootfs.recipe.recipe import digest_recipe, files_folder, read_recipe
from rootfs.system.errors import FormatNewer

SHELF = Path(__file__).parents[4] / "recipes"
RECIPE = "kind: scratch\nfiles:\n  - {path: /a, from: a}\n  - {path: /b, from: deep/er/b}\nbuild: [[./run]]\n"
ODD = b"caf\xe9 \xff\n".decode(errors="surrogateescape")


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def recipe(tmp_path):
    """A recipe with everything that a recipe's digest can speak of."""
    file = tmp_path / "recipes/odd.yaml"
    folder = files_folder(file)
    (folder / "deep/er").mkdir(parents=True)
    (folder / "empty").mkdir()
    file.write_text(RECIPE)
    for name, text in {
        "a": "a",
        "deep/er/b": "b",
        "run": "#!/bin/sh\n",
        ODD: "odd",
        "n" * 200: "",
        "ü .yaml": "x",
    }.items():
        (folder / name).write_text(text)
    (folder / "run").chmod(0o700)
    (folder / "deep/er/b").chmod(0o440)
    for name, target in {
        "up": "./deep/../a",
        "deep/down": "er",
        "deep/er/dots": "..//er/./b",
        "nowhere": "void",
    }.items():
        (folder / name).symlink_to(target)
    os.link(folder / "a", folder / "twin")
    return file


def kept(store, file):
    return sources_bundle.keep_sources(store, *lineage_files(file))


def test_a_newer_format_is_refused_and_a_tar_without_one_is_read(store, recipe, tmp_path):
    with store.open_blob(kept(store, recipe)) as blob:
        data = blob.read()
    assert data.count(b"BASEFORGE.format=1\n") == 1
    newer = store.put_blob(io.BytesIO(data.replace(b"BASEFORGE.format=1\n", b"BASEFORGE.format=2\n")))
    (tmp_path / "newer").mkdir()
    with pytest.raises(FormatNewer, match=f"{newer}: .*has format 2"):
        sources_bundle.unpack_sources(store, newer, tmp_path / "newer")
    assert not list((tmp_path / "newer").iterdir())
    older = store.put_blob(io.BytesIO(data[2 * tarfile.BLOCKSIZE :]))  # without the global header
    (tmp_path / "older").mkdir()
    assert recipe_digest(sources_bundle.unpack_sources(store, older, tmp_path / "older")) == recipe_digest(recipe)


def again(store, file, tmp_path):
    folder = tmp_path / "again"
    folder.mkdir()
    return sources_bundle.unpack_sources(store, kept(store, file), folder)


def recipe_digest(file):
    return digest_recipe(read_recipe(file), files_folder(file))


def test_the_unpacked_recipe_is_the_same(store, recipe, tmp_path):
    back = again(store, recipe, tmp_path)
    assert back == tmp_path / "again/odd.yaml"
    assert recipe_digest(back) == recipe_digest(recipe)
    assert (files_folder(back) / "deep/er/dots").readlink() == Path("..//er/./b")
    assert (files_folder(back) / "empty").is_dir()
    assert {path.relative_to(back.parent) for path in back.parent.rglob("*")} == {
        path.relative_to(recipe.parent) for path in recipe.parent.rglob("*")
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in SHELF.glob("*.yaml")))
def test_the_recipes_of_the_shelf_come_back(name, store, tmp_path):
    file = SHELF / f"{name}.yaml"
    assert recipe_digest(again(store, file, tmp_path)) == recipe_digest(file)


def test_one_file_can_be_left_out(store, recipe, tmp_path):
    blob = sources_bundle.keep_sources(store, recipe, but=files_folder(recipe) / "a")
    (tmp_path / "again").mkdir()
    back = files_folder(sources_bundle.unpack_sources(store, blob, tmp_path / "again"))
    assert not (back / "a").exists()
    assert (back / "deep/er/b").exists()


def test_times_owners_and_other_modes_are_not_kept(store, recipe):
    before = kept(store, recipe)
    for path in recipe.parent.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (files_folder(recipe) / "a").chmod(0o604)
    assert kept(store, recipe) == before


CHANGES = {
    "a content": lambda folder: (folder / "a").write_text("A"),
    "what is executable": lambda folder: (folder / "a").chmod(0o755),
    "a link": lambda folder: ((folder / "up").unlink(), (folder / "up").symlink_to("deep")),
    "a name": lambda folder: (folder / "a").rename(folder / "c"),
    "the recipe": lambda folder: folder.with_suffix(".yaml").write_text(f"{RECIPE}description: other\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_changed_file_makes_a_new_bundle(change, store, recipe):
    before = kept(store, recipe)
    CHANGES[change](files_folder(recipe))
    assert kept(store, recipe) != before


def blob(store, *members, head=True):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, kind, link in [*([("x.yaml", tarfile.REGTYPE, "")] if head else []), *members]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            archive.addfile(info)
    return store.put_blob(io.BytesIO(tar.getvalue()))


BAD = {
    "up": [("x/../../out", tarfile.REGTYPE, "")],
    "absolute": [("/tmp/baseforge-leads-out", tarfile.REGTYPE, "")],
    "a device": [("x", tarfile.CHRTYPE, "")],
    "a hard link": [("x", tarfile.LNKTYPE, "/etc/passwd")],
    "the same twice": [("y", tarfile.REGTYPE, "")] * 2,
    "a link over a file": [("y", tarfile.REGTYPE, ""), ("y", tarfile.SYMTYPE, "/")],
    "below a file": [("x.yaml/y", tarfile.REGTYPE, "")],
    "through a link": [("x", tarfile.SYMTYPE, "../.."), ("x/out", tarfile.REGTYPE, "")],
}


@pytest.mark.parametrize("name", BAD)
def test_a_tar_with_paths_out_of_the_folder_or_duplicates_is_refused(name, store, tmp_path):
    folder = tmp_path / "deep/folder"
    folder.mkdir(parents=True)
    with pytest.raises(BuildError, match="holds no recipe:"):
        sources_bundle.unpack_sources(store, blob(store, *BAD[name]), folder)
    assert not Path("/tmp/baseforge-leads-out").exists()
    assert {path.name for path in tmp_path.rglob("out")} == set()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../.."])
def test_a_link_out_of_the_folder_is_refused_when_the_recipe_is_read(target, store, tmp_path):
    links = [("x", tarfile.DIRTYPE, ""), ("x/link", tarfile.SYMTYPE, target)]
    file = sources_bundle.unpack_sources(store, blob(store, *links), tmp_path)
    file.write_text("kind: scratch\nfiles: [{path: /a, content: a}]\n")
    with pytest.raises(RecipeInvalid, match="leads out"):
        read_recipe(file)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(10240)])
def test_other_data_than_a_recipe_s_tar_are_refused(data, store, tmp_path):
    with pytest.raises(BuildError, match="holds no recipe:"):
        sources_bundle.unpack_sources(store, store.put_blob(io.BytesIO(data)), tmp_path)


def test_a_tar_without_a_recipe_is_refused(store, tmp_path):
    with pytest.raises(BuildError, match="does not begin with a recipe"):
        sources_bundle.unpack_sources(store, blob(store, ("a.txt", tarfile.REGTYPE, ""), head=False), tmp_path)


def test_a_blob_that_is_gone_or_damaged_is_named(store, recipe, tmp_path):
    held = kept(store, recipe)
    with pytest.raises(BlobMissing):
        sources_bundle.unpack_sources(store, "sha256:" + "0" * 64, tmp_path / "a")
    place = tmp_path / "store/blobs/sha256" / held.removeprefix("sha256:")
    place.chmod(0o644)
    data = bytearray(place.read_bytes())
    data[600] ^= 1
    place.write_bytes(data)
    (tmp_path / "b").mkdir()
    with pytest.raises(BlobDamaged):
        sources_bundle.unpack_sources(store, held, tmp_path / "b")
