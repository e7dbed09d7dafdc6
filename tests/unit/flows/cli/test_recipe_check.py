"""`validate`: every mistake of every recipe, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.schemas import validate

PROGRAM = [sys.executable, "-c", "from flows.cli.__main__ import main; main()", "validate"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three recipes, two of them with mistakes."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "good.yaml").write_text("kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    (recipes / "typo.yaml").write_text("kind: debootstrap\nsiute: trixie\ninclude: curl\n")
    (recipes / "many.yaml").write_text("kind: scratch\n" + "".join(f"k{number}: 1\n" for number in range(15)))
    return tmp_path


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], cwd=site, capture_output=True, text=True, check=False)


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The one document on standard output, by image."""
    document = json.loads(done.stdout)
    validate("validate", document)
    return {each["name"]: each for each in document}


def test_all_mistakes_are_one_document_on_standard_output(site: Path) -> None:
    done = run(site, "--json")
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


def test_an_image_without_a_recipe_is_in_the_document(site: Path) -> None:
    done = run(site, "godo", "good", "--json")
    found = printed(done)
    assert done.returncode == 2
    [problem] = found["godo"]["problems"]
    assert (problem["file"], problem["line"], problem["hint"]) == ("", None, "Did you mean 'good'?")
    assert found["good"]["problems"] == []


def test_the_text_says_how_many_more_mistakes_there_are(site: Path) -> None:
    done = run(site, "many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "… and 5 more: `baseforge validate --json` has all" in done.stderr
