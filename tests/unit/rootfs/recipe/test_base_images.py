"""Base images of layers, and the order in which images are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootfs.errors import InputError, RecipeInvalid
from rootfs.recipe.base import Packaged
from rootfs.recipe.base_images import FROM, base_images_first, base_images_of, lineage_files
from rootfs.recipe.layer import LayerRecipe
from rootfs.recipe.recipe import (
    all_recipes_of,
    digest_recipe,
    files_folder,
    layered_request,
    lineage_of,
    read_recipe,
    repository_place,
)
from rootfs.tree.filters import Rules

BASE = "kind: debootstrap\nsuite: trixie\n"
SCRATCH = "kind: scratch\nfiles: [{path: /layer, content: layer}]\n"


def on(parent: str, more: str = "") -> str:
    return f"kind: layer\nfrom: {parent}\n{more}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recipes by name; a file that a test writes replaces one."""
    texts = {"base": BASE, "mid": on("base"), "top": on("mid"), "tiny": SCRATCH}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


REFUSED = {
    "a name that is not there": (on("bass"), "2:7: there is no recipe 'bass' in {folder}. Did you mean 'base'?"),
    "no name like it": (on("zzzzzz"), "2:7: there is no recipe 'zzzzzz' in {folder}. Recipes of other folders"),
    "itself": (on("it"), "2:7: an image cannot build on itself: it is from it"),
    "a scratch image": (on("tiny"), "2:7: 'tiny' is of kind scratch, on which no packages can be installed"),
    "one without package manager": (
        on("shut"),
        "2:7: 'shut' has no package manager any more, so nothing can be installed on it",
    ),
    "a path": (on("../base"), "2:7: '../base' is not a name"),
    "nothing": ("kind: layer\n", "1:1: key 'from' is missing"),
    "a suite of its own": (on("base", "suite: sid\n"), "3:1: unknown key 'suite'"),
    "a file that is not there": (on("base", "customise: [x]\n"), "3:13: there is no file {folder}/it/x"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_impossible_layers_are_refused(text, said, folder):
    write(folder, "shut", BASE + "package_manager: remove\n")
    path = write(folder, "it", text)
    with pytest.raises(RecipeInvalid) as refused:
        read_recipe(path)
    assert str(refused.value).startswith(f"{path}:{said.format(folder=folder)}".rstrip("."))


def test_a_circle_is_refused_wherever_one_comes_into_it(folder):
    write(folder, "mid", on("top"))
    with pytest.raises(RecipeInvalid, match="an image cannot build on itself: top is from mid is from top"):
        read_recipe(folder / "top.yaml")
    path = write(folder, "above", on("top"))
    with pytest.raises(RecipeInvalid, match="build on itself: above is from top is from mid is from top"):
        read_recipe(path)
    assert base_images_first(["above", "top"], folder) == ["above", "top"]


def test_all_recipes_of_an_image_are_also_those_of_a_dockerfile_s_base_images(folder):
    (folder / "server").mkdir()
    (folder / "server/Dockerfile").write_text("FROM top\n")
    path = write(folder, "server", "kind: dockerfile\ncontexts: {top: top, tiny: tiny}\n")
    assert [each.name for each in all_recipes_of(read_recipe(path), path)] == ["base", "mid", "top", "tiny", "server"]
    tiny = folder / "tiny.yaml"
    assert [each.name for each in all_recipes_of(read_recipe(tiny), tiny, (folder,))] == ["tiny"]


def test_a_layer_on_a_layer(folder):
    top = read_recipe(folder / "top.yaml")
    assert isinstance(top, LayerRecipe)
    assert top.parent == "mid"
    assert [path.stem for path in lineage_files(folder / "top.yaml")] == ["top", "mid", "base"]
    assert [each.name for each in lineage_of(top, folder / "top.yaml")] == ["base", "mid", "top"]
    assert [each.name for each in lineage_of(read_recipe(folder / "tiny.yaml"), folder / "tiny.yaml")] == ["tiny"]


@pytest.mark.parametrize("name", ["base", "tiny"])
def test_a_recipe_that_only_mentions_the_word_has_no_base_image(name, folder):
    assert base_images_of(folder / f"{name}.yaml") == {}
    assert base_images_of(write(folder, "x", "kind: debootstrap # no layer\nfrom: base\n")) == {}
    assert base_images_of(folder / "top.yaml") == {FROM: "mid"}


def test_base_images_come_first_and_once(folder):
    assert base_images_first(["top", "tiny", "mid"], folder) == ["base", "mid", "top", "tiny"]
    assert base_images_first(["tiny"], folder) == ["tiny"]


def test_an_unreadable_recipe_stays_in_the_list(folder):
    write(folder, "odd", "kind: layer\n  from: [\n")
    write(folder, "lost", on("nowhere"))
    assert base_images_first(["odd", "lost", "mid"], folder) == ["odd", "lost", "base", "mid"]
    with pytest.raises(RecipeInvalid, match=r"odd\.yaml:2"):
        base_images_of(folder / "odd.yaml")


def test_the_digest_covers_the_layer_s_own_keys(folder):
    path = folder / "mid.yaml"
    before = digest_recipe(read_recipe(path), files_folder(path))
    write(folder, "base", BASE + "include: [curl]\n")
    assert digest_recipe(read_recipe(path), files_folder(path)) == before
    write(folder, "mid", on("base", "include: [curl]\n"))
    assert digest_recipe(read_recipe(path), files_folder(path)) != before


FURTHER = "repositories: [{uri: 'http://x.test', suites: [s], keyring: keys/x.asc}]\npins: [%s]\n"
PIN = "{packages: [%s], pin: version 1, priority: 9}"


def test_a_layer_uses_its_base_image_s_suite_and_archives(folder):
    for name in ("base", "mid"):
        (folder / name / "keys").mkdir(parents=True)
        (folder / name / "keys/x.asc").touch()
    more = "exclude: [bad, other]\nrecommends: true\nsnapshot: 20261101T000000Z\ncomponents: [main, contrib]\n"
    write(folder, "base", BASE + more + FURTHER % (PIN % "a"))
    write(folder, "mid", on("base", "include: [one]\ncomponents: [non-free]\n" + FURTHER % (PIN % "b")))
    (folder / "top").mkdir()
    (folder / "top/top.lock").touch()
    write(folder, "top", on("mid", "include: [other, two]\nexclude: [worse]\nlock: top.lock\n"))
    asked = layered_request(lineage_of(read_recipe(folder / "top.yaml"), folder / "top.yaml"))
    assert asked is not None
    assert (asked.suite, asked.snapshot) == ("trixie", "20261101T000000Z")
    assert asked.components == ("main", "contrib", "non-free")
    assert (asked.include, asked.exclude, asked.recommends) == (("other", "two"), ("bad", "worse"), False)
    assert [each.keyring for each in asked.repositories] == ["base/keys/x.asc", "mid/keys/x.asc"]
    assert [each.packages for each in asked.pins] == [("a",), ("b",)]
    assert asked.lock == "top/top.lock"


def test_a_mistake_in_a_further_archive_has_the_line_of_the_recipe_that_names_it(folder):
    (folder / "base/keys").mkdir(parents=True)
    (folder / "base/keys/x.asc").touch()
    write(folder, "base", BASE + "repositories:\n- uri: http://x.test/a/\n  suites: [r, s]\n  keyring: keys/x.asc\n")
    lines = lineage_of(read_recipe(folder / "mid.yaml"), folder / "mid.yaml")
    place = repository_place(lines, [folder], "http://x.test/a", "s", "suites")
    assert place == f"{folder}/base.yaml:{place.rpartition('yaml:')[2]}"
    line = int(place.split(":")[-2])
    assert (folder / "base.yaml").read_text().splitlines()[line - 1] == "  suites: [r, s]"
    assert repository_place(lines, [folder], "http://x.test/b", "s", "suites") == ""


def test_the_last_recipe_s_path_rules_win(folder):
    write(folder, "base", BASE + "paths: {exclude: [/usr/share/*], include: [/usr/share/keep]}\n")
    write(folder, "mid", on("base", "paths: {exclude: [/usr/share/keep]}\n"))
    lines = lineage_of(read_recipe(folder / "mid.yaml"), folder / "mid.yaml")
    assert all(isinstance(each, Packaged) for each in lines)
    assert Rules.of(lines[0].filters).keeps("usr/share/keep")
    assert not Rules.of(*(each.filters for each in lines)).keeps("usr/share/keep")


def test_a_removed_base_image_is_reported(folder):
    top = read_recipe(folder / "top.yaml")
    (folder / "base.yaml").unlink()
    with pytest.raises((InputError, RecipeInvalid)):
        lineage_of(top, folder / "top.yaml")
