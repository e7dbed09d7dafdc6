"""What the command line says of itself: help, version, and what a shell completes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows.cli.arguments import first_sentence
from flows.cli.main import app

RECIPE = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"


def said(*words: str, **environment: str) -> str:
    done = CliRunner().invoke(app, words, prog_name="baseforge", env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("columns", ["60", "120"])
@pytest.mark.parametrize("group", [(), ("builder",)])
def test_help_lists_each_command_with_a_whole_sentence(group: tuple[str, ...], columns: str) -> None:
    shown = said(*group, "--help", COLUMNS=columns)
    listed = " ".join(shown.partition("Commands:")[2].split())
    assert "..." not in listed
    assert "…" not in listed
    inner = typer.main.get_command(app)
    for name in group:
        inner = vars(inner)["commands"][name]
    for name, command in vars(inner)["commands"].items():
        assert f"{name} {first_sentence(command.help)}" in listed
        assert first_sentence(command.help).endswith(".")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("One\n    line. And more.", "One line."), ("Of .tar files. More", "Of .tar files."), ("no end", "no end")],
)
def test_the_first_sentence_of_a_text(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"baseforge \d+\.\d+\.\d+\n", said("--version"))


def test_setup_is_listed_and_says_where_it_is(tmp_path: Path) -> None:
    assert "--no-engine" in said("setup", "--help")
    done = CliRunner().invoke(app, ["setup"])
    assert "./baseforge setup" in vars(done.exception)["hint"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BASEFORGE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/motd.yaml").write_text(RECIPE)
    (tmp_path / "recipes/other.yaml").write_text(RECIPE)
    (tmp_path / "store/images/kept").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("build mo", ["motd"]),
        ("build motd ", ["motd", "other"]),
        ("validate ", ["motd", "other"]),
        ("lock ot", ["other"]),
        ("nightly --only m", ["motd"]),
        ("show ", ["kept"]),
        ("export k", ["kept"]),
        ("build --recipes elsewhere ", []),
        ("vali", ["validate"]),
    ],
)
def test_a_shell_completes_names_of_images(line: str, names: list[str], site: Path) -> None:
    words = {"COMP_WORDS": f"baseforge {line}", "COMP_CWORD": str(len(line.split(" ")))}
    assert said(_BASEFORGE_COMPLETE="complete_bash", **words).split() == names


@pytest.mark.parametrize("name", ["$(touch x)", "m;x", "m`x`", "m x", "m\nx", "-m"])
def test_a_shell_completes_no_name_that_it_would_run(name: str, site: Path) -> None:
    (site / f"recipes/{name}.yaml").write_text(RECIPE)
    words = {"COMP_WORDS": "baseforge build ", "COMP_CWORD": "2"}
    assert said(_BASEFORGE_COMPLETE="complete_bash", **words).split() == ["motd", "other"]


def test_mistakes_in_settings_do_not_disturb_the_shell(site: Path) -> None:
    (site / "baseforge.toml").write_text("nonsense = 1\n")
    words = {"COMP_WORDS": "baseforge build ", "COMP_CWORD": "2"}
    assert said(_BASEFORGE_COMPLETE="complete_bash", **words).split() == []
