"""The documents are true: their commands exist, their recipes are valid, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows.cli.main import app
from flows.config.settings import Settings, load
from rootfs.recipe.kinds import KINDS
from rootfs.recipe.recipe import read_recipe
from tests.support.documents import (
    CODE,
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    links,
    prose,
    synopses,
    write_recipes,
)
from tests.support.documents import read as page_of

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(block, line) for block in BLOCKS for line in block.commands]
OTHERS = {"export", "install", "uv", "prefect", "tar", "useradd", "usermod", "cp", "systemctl"}  # not ours
SHELF = ROOT / "recipes"
command_line = get_command(app)


def test_readme_is_short():
    assert len(page_of("README.md").split()) <= 1500


def test_the_table_of_the_benchmark_is_the_one_it_wrote():
    shown = page_of("README.md").partition("<!-- building.md -->\n")[2].partition("<!-- /building.md -->")[0]
    assert shown.strip() == (ROOT / "tests/bench/building.md").read_text().strip()


def test_the_sizes_are_those_that_were_measured():
    measured = json.loads((SHELF / "figures.json").read_text())
    beside = json.loads((SHELF / "comparable.json").read_text())["images"]
    sizes = re.search(r"\*\*Size\.\*\*(.*?)\n\n", page_of("README.md"), re.DOTALL)
    assert sizes
    found = re.findall(r"([\w-]+) ([\d.]+) MB \(([^)]+?) ([\d.]+) MB\)", " ".join(sizes[1].split()))
    assert len(found) >= 4
    for name, ours, other, theirs in found:
        assert float(ours) == pytest.approx(measured[name]["size"] / 1e6, abs=0.05)
        assert (other, float(theirs)) == (beside[name]["image"], pytest.approx(beside[name]["size"] / 1e6, abs=0.05))


def test_the_number_of_recipes_is_right():
    count = re.search(r"The shelf has (\d+) recipes", page_of("README.md"))
    assert count
    assert int(count[1]) == len(list(SHELF.glob("*.yaml")))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(str(target.relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_text_exist(page):
    """A path is a code word with a slash that begins with a folder of the clone."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for word in CODE.findall(prose(page)):
        first, slash, _ = word.partition("/")
        if slash and first in folders and re.fullmatch(r"[\w./-]+", word) and not re.search("[A-Z]{3}", word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", ["flows/README.md", "rootfs/README.md"])
def test_the_page_of_a_folder_names_what_is_there(page):
    """The first table has every folder, and no module that does not exist."""
    folder = (ROOT / page).parent
    table = prose(page).partition("| --- ")[2].partition("\n\n")[0]
    named = [word for row in table.splitlines() for word in CODE.findall(row.partition(" | ")[0])]
    assert [word for word in named if not (folder / word).exists()] == []
    assert {path.parent.name for path in folder.glob("*/__init__.py")} <= {word.rstrip("/") for word in named}


def sections(page: str, title: str) -> dict[str, list[str]]:
    """The lines of each section whose heading begins with the title, by heading."""
    found = re.split(r"^#+ ", page_of(page), flags=re.MULTILINE)[1:]
    return {
        head: body.split("\n") for head, _, body in (each.strip().partition("\n\n") for each in found) if title in head
    }


def test_contributing_is_short_on_how_to_add_something():
    how = sections("CONTRIBUTING.md", "How to add")
    assert [len(lines) < 10 for lines in how.values()] == [True] * 3


def test_what_contributing_names_is_where_it_says():
    """Of the form: `BuilderDriver` in `flows/builders/lifecycle.py`."""
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", page_of("CONTRIBUTING.md"))
    assert len(named) > 5
    for name, path in named:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} in {path}"


def test_contributing_names_every_function_of_a_driver():
    listed = set(sections("CONTRIBUTING.md", "How to add a builder driver").popitem()[1])
    module = (ROOT / "flows/builders/lifecycle.py").read_text()
    protocol = module.partition("class Driver(Protocol):")[2].partition("\n\n\n")[0]
    for function in re.findall(r"def (\w+)", protocol):
        assert f"`{function}`" in " ".join(listed), function


def test_contributing_explains_ten_decisions():
    why = sections("CONTRIBUTING.md", "?")
    assert [heading for heading, lines in why.items() if not 5 <= len(lines) <= 15] == []
    assert len(why) == 10


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=str)
def test_commands_exist(block, line):
    for words in _programs(line):
        program, *rest = words
        if program in ("baseforge", "./baseforge") and rest[0] != "setup":
            parse(command_line, rest)
        elif program == "./baseforge":
            assert set(rest[1:]) <= set(re.findall(r"--[\w-]+", (ROOT / "baseforge").read_text()))
        elif program == "tests/run":
            stages = [word for word in rest[: rest.index("-k")] if word != "full"] if "-k" in rest else rest
            assert all((ROOT / "tests" / stage).is_dir() or stage == "full" for stage in stages)
        elif program.startswith(".venv/bin/"):
            assert Path(sys.executable).with_name(Path(program).name).exists()
            if rest[:1] == ["-m"]:
                assert importlib.util.find_spec(rest[1]), rest[1]
            assert all((ROOT / word).exists() for word in rest if "/" in word), rest
        else:
            assert program in OTHERS, f"{block}: {program}"


def _programs(line: str) -> list[list[str]]:
    """The words of each program of a pipeline, without sudo and redirections."""
    return [
        words[1:] if words[0] == "sudo" else words
        for part in line.split(" | ")
        if (words := shlex.split(re.sub(r" >+\s*\S+", "", part)))
    ]


def parse(command: Any, words: list[str]) -> None:
    """Parse the words as the command line does. Raises the usage error of click, which typer has a copy of."""
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


def _leaves(group: Any, before: str) -> dict[str, Any]:
    """Each command by its whole name, also those of groups."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        whole = f"{before} {name}"
        found |= _leaves(command, whole) if hasattr(command, "commands") else {whole: command}
    return found


LEAVES = _leaves(command_line, "baseforge")
GROUPS = "baseforge builder create|list|inspect|du|use|stop|prune|rm"
SYNOPSES = {
    next(name for name in LEAVES if f"{line} ".startswith(f"{name} ")): line
    for line in synopses("deploy/README.md")
    if line != GROUPS
}


def test_every_command_is_in_the_table():
    assert LEAVES.keys() == SYNOPSES.keys()
    assert GROUPS in synopses("deploy/README.md")


@pytest.mark.parametrize("name", SYNOPSES)
def test_the_table_shows_options_that_exist(name):
    known = {option for each in LEAVES[name].params for option in each.opts}
    assert set(re.findall(r"--[\w-]+", SYNOPSES[name])) <= known


def test_the_options_of_builds_and_imports_are_all_shown():
    """`--recipes` is explained below the table, for all commands."""
    for name in ("baseforge build", "baseforge import", "baseforge nightly", "baseforge lock", "baseforge verify"):
        options = {option for each in LEAVES[name].params for option in each.opts if option.startswith("--")}
        assert options - set(re.findall(r"--[\w-]+", SYNOPSES[name])) == {"--recipes"}


def test_every_setting_is_in_the_table():
    table = page_of("deploy/README.md").partition("\n## Settings\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(Settings.model_fields)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_settings_are_valid(block, tmp_path):
    (tmp_path / "baseforge.toml").write_text(block.text)
    (tmp_path / "recipes").mkdir()
    loaded = load([tmp_path / "recipes"]).model_dump(mode="json")
    for key, value in tomllib.loads(block.text).items():
        assert loaded[key] or not value


@pytest.fixture(scope="module", params=["README.md", "recipes/README.md"])
def examples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The recipes of a page, written to a folder."""
    folder = tmp_path_factory.mktemp("recipes")
    names = write_recipes(request.param, folder)
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other/distribution.gpg").touch()  # what the page has no room for
    return folder, names


def test_recipes_are_valid(examples):
    folder, names = examples
    found = [read_recipe(folder / f"{name}.yaml") for name in names]
    assert found
    assert all(each.description and each.smoke for each in found if not each.platforms)


def test_there_is_an_example_of_each_kind():
    found = {re.search(r"^kind: (\w+)", block.text, re.MULTILINE) for block in blocks("recipes/README.md")}
    assert {each[1] for each in found if each} == set(KINDS)


@pytest.mark.parametrize("block", blocks("README.md"), ids=str)
def test_recipes_of_the_shelf_are_shown_as_they_are(block: Block):
    if block.file:
        assert (SHELF / block.file).read_text() == block.text


def test_files_of_examples_belong_to_recipes():
    files = {block.file for block in blocks("recipes/README.md") if block.file}
    recipes = {file.removesuffix(".yaml") for file in files if file.endswith(".yaml")}
    assert {file.partition("/")[0] for file in files if "/" in file} <= recipes


def test_a_mistake_is_reported_as_readme_shows(tmp_path):
    [block] = [block for block in blocks("README.md") if "validate typo" in block.text]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/typo.yaml").write_text("kind: debootstrap\nsiute: trixie\ninclude: curl\n")
    program = [sys.executable, "-c", "from flows.cli.__main__ import main; main()", "validate", "typo"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert block.text.partition("\n")[2] == done.stderr
