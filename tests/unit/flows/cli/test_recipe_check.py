"""`validate`: every mistake of every recipe, for people and for programs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main
from tests.support.schemas import validate


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three recipes, two of them with mistakes."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "good.yaml").write_text("kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    (recipes / "typo.yaml").write_text("kind: debootstrap\nsiute: trixie\ninclude: curl\n")
    (recipes / "many.yaml").write_text("kind: scratch\n" + "".join(f"k{number}: 1\n" for number in range(15)))
    return tmp_path


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Done]]:
    """Run `baseforge validate` in the site's folder, in this process."""
    monkeypatch.chdir(site)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def validated(*words: str) -> Done:
        with pytest.raises(SystemExit) as end:
            main(["validate", *words])
        said = capsys.readouterr()
        return Done(int(end.value.code or 0), said.out, said.err)

    yield validated
    for number, handler in before.items():
        signal.signal(number, handler)


def printed(done: Done) -> dict[str, dict[str, Any]]:
    """The one document on standard output, by image."""
    document = json.loads(done.stdout)
    validate("validate", document)
    return {each["name"]: each for each in document}


def test_all_mistakes_are_one_document_on_standard_output(run: Callable[..., Done]) -> None:
    done = run("--json")
    found = printed(done)
    assert done.returncode == 2
    assert {name: len(each["problems"]) for name, each in found.items()} == {"good": 0, "many": 15, "typo": 3}
    assert (found["good"]["kind"], found["typo"]["kind"]) == ("scratch", "")
    [problem] = [each for each in found["typo"]["problems"] if each["line"] == 2]
    assert problem == {
        "image": "typo",
        "file": "recipes/typo.yaml",
        "line": 2,
        "column": 1,
        "message": "unknown key 'siute'",
        "hint": "Did you mean 'suite'?",
    }


def test_an_image_without_a_recipe_is_in_the_document(run: Callable[..., Done]) -> None:
    done = run("godo", "good", "--json")
    found = printed(done)
    assert done.returncode == 2
    [problem] = found["godo"]["problems"]
    assert (problem["file"], problem["line"], problem["hint"]) == ("", None, "Did you mean 'good'?")
    assert found["good"]["problems"] == []


def test_two_recipes_of_one_image_are_in_the_document(run: Callable[..., Done], site: Path) -> None:
    (site / "recipes/good.yml").write_text("kind: scratch\n")
    done = run("--json")
    [problem] = printed(done)["good"]["problems"]
    assert done.returncode == 2
    assert (problem["file"], problem["hint"]) == ("recipes/good.yaml", "Rename or remove one of the two files.")


def test_the_text_says_how_many_more_mistakes_there_are(run: Callable[..., Done]) -> None:
    done = run("many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "… and 5 more: `baseforge validate --json` has all" in done.stderr
