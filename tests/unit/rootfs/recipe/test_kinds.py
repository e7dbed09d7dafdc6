"""The registry of recipe kinds: a registered kind is read, validated, documented and built like any other."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import zstandard

from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.errors import RecipeInvalid
from rootfs.layer.pack import pack
from rootfs.lock.lock import Lock, input_digest
from rootfs.recipe import reference
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.recipe import digest_recipe, files_folder, lineage_of, read_recipe, request_of
from rootfs.tree.filters import Rules
from rootfs.tree.normalize import normalize
from tests.support.toy_kind import TOY, ToyRecipe

# What one recipe of each kind said when these digests were written down: another digest would build every image anew.
RECIPES = {
    "base": "kind: debootstrap\nsuite: trixie\nlocale: C.UTF-8\nslim: [docs, man]\ninclude: [less]\n",
    "layer": "kind: layer\nfrom: base\ninclude: [jq]\nfiles: [{path: /note, content: hi}]\n",
    "archive": "kind: tarball\nsource: root.tar\ndevices: true\n",
    "nothing": "kind: scratch\nfiles: [{path: /motd, from: motd}]\nnonroot: true\n",
    "docker": "kind: dockerfile\ncontexts: {base: base}\nargs: {A: b}\n",
}
FILES = {"archive/root.tar": "tar", "nothing/motd": "hello", "docker/Dockerfile": "FROM base\nCOPY one /one\n"}
DIGESTS = {
    "base": "sha256:d8c5188025f96bb4e06613da16e1d77499b21730c754bb84c12bab2d08624de8",
    "layer": "sha256:d3994909bd6629765dd0f2e94364adde065e4fe7aa09870e28c5cca8bc22f69d",
    "archive": "sha256:0dac9bdf45a52854d42c973bfcf217ef54030e1cf5a651516659afd93b7c2e33",
    "nothing": "sha256:da69ed882d87712524e183a0aea6dbd9c0901a7ef4a55e789cde11b0d70af4b8",
    "docker": "sha256:6d29b63c53c2aab2a3ae5ee8c542c462fbf1b1de37c88482e8df446906c0c675",
}
INPUTS = (
    "sha256:8ec24475654d035b6add80755f5e27a75799ad35bc6e771ff49c874cecfe715a",
    "sha256:3d0f12e6eba0c5841cdbbbb3afdeda0b708ae6fb8dd6199798aba08062e4ab17",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe of each kind."""
    for name, text in RECIPES.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a toy recipe, whose kind is registered."""
    monkeypatch.setitem(KINDS, "toy", TOY)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/run").write_bytes(b"program")
    file = tmp_path / "one.yaml"
    file.write_text("kind: toy\nprogram: run\n")
    return file


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_digests_stay_the_same(folder, name):
    file = folder / f"{name}.yaml"
    assert digest_recipe(read_recipe(file), files_folder(file)) == DIGESTS[name]


def test_every_kind_has_a_recipe_whose_digest_is_known():
    assert {line.split()[1] for text in RECIPES.values() for line in text.splitlines()[:1]} == set(KINDS)


def test_input_digests_stay_the_same(folder):
    recipe = DIGESTS["docker"]
    plain = input_digest(recipe, Lock(), "amd64", {"zstd": "1.5.7"})
    on_bases = input_digest(recipe, Lock(), "amd64", {"zstd": "1.5.7"}, "sha256:1", {"base": "sha256:2"})
    assert (plain, on_bases) == INPUTS


@pytest.mark.parametrize(
    ("name", "tools"),
    [
        ("base", ("apt", "dpkg", "mmdebstrap")),
        ("layer", ("apt", "dpkg")),
        ("archive", ()),
        ("nothing", ()),
        ("docker", ()),
    ],
)
def test_tools_of_the_machine_that_count(folder, name, tools):
    assert read_recipe(folder / f"{name}.yaml").host_tools == tools


def test_what_a_container_starts_with_follows_from_other_keys(folder):
    base, nothing = (read_recipe(folder / f"{name}.yaml").container_settings for name in ("base", "nothing"))
    assert base.env == {"LANG": "C.UTF-8"}
    assert (nothing.user, nothing.workdir) == ("65532:65532", "/home/nonroot")


def test_only_images_with_a_package_manager_take_layers_and_run_programs(folder):
    recipes = {name: read_recipe(folder / f"{name}.yaml") for name in RECIPES}
    assert {name for name, each in recipes.items() if each.takes_layers} == {"base", "layer"}
    assert {name for name, each in recipes.items() if each.runs_programs} == {"base", "layer"}


def test_a_registered_kind_is_read(toy):
    recipe = read_recipe(toy)
    assert isinstance(recipe, ToyRecipe)
    assert (recipe.name, recipe.program) == ("one", "run")


def test_files_that_a_registered_kind_names_count_in_its_digest(toy):
    before = digest_recipe(read_recipe(toy), files_folder(toy))
    (toy.parent / "one/run").write_bytes(b"another program")
    assert digest_recipe(read_recipe(toy), files_folder(toy)) != before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: toy\nprogram: other\n", "2:10: there is no file"),
        ("kind: toy\nprogam: run\n", "2:1: unknown key 'progam'. Did you mean 'program'?"),
        ("kind: tox\nprogram: run\n", "1:7: there is no such kind of recipe. Did you mean 'toy'?"),
    ],
)
def test_mistakes_in_a_recipe_of_a_registered_kind_are_shown_where_they_are(toy, text, problem):
    toy.write_text(text)
    with pytest.raises(RecipeInvalid) as caught:
        read_recipe(toy)
    assert any(f"{place}: {why}".startswith(f"{toy}:{problem}") for place, why in caught.value.problems)


def test_the_schema_and_the_reference_have_registered_kinds(toy):
    assert reference.schema()["$defs"]["ToyRecipe"]["properties"]["kind"]["const"] == "toy"
    assert "## kind: toy\n\nAn image of one static program.\n" in reference.reference_text()


def test_a_recipe_of_a_registered_kind_becomes_a_layer(toy, tmp_path):
    recipe = read_recipe(toy)
    lineage = lineage_of(recipe, toy)
    assert (lineage, request_of(lineage, toy), Rules.of(recipe.filters).steps) == ((recipe,), None, ())
    (work := tmp_path / "work").mkdir()
    job = Job(
        recipe=recipe,
        files=files_folder(toy),
        lock=Lock(),
        architecture="amd64",
        folder=work,
        debs=work,
        cache=None,
        log=lambda _line: None,
    )
    with open_tree(job) as members:
        layer = pack(normalize(members, 0), work / "layer")
    plain = zstandard.ZstdDecompressor().stream_reader(layer.path.open("rb"))
    with plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        found = [(each.name, each.mode, tar.extractfile(each).read()) for each in tar if each.isfile()]
    assert found == [("program", 0o755, b"program")]
