"""Commands that need no Prefect never import it: loading it takes a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"
# Runs one command after another in one process, and prints how each ended and what is imported then.
SCRIPT = """
import contextlib, io, json, sys
from flows.cli.main import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words)
        except SystemExit as end:
            status = end.code
    print(json.dumps([words, status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
COMMANDS = ("list", "validate", "validate motd", "lock motd", "show motd", "--version")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "recipes").mkdir()
    (folder / "recipes/motd.yaml").write_text(RECIPE)
    return folder


def run(site: Path, *argv: str, **more: str) -> str:
    """What a Python process prints, whose Prefect server nobody reaches."""
    home = {"BASEFORGE_HOME": str(site / "home"), "BASEFORGE_STORE": str(site / "store")}
    environment = {**os.environ, **home, "PREFECT_API_URL": "http://127.0.0.1:9/api", **more}
    done = subprocess.run(
        [sys.executable, *argv], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_no_command_that_only_looks_imports_prefect(site: Path) -> None:
    said = run(site, "-c", SCRIPT, json.dumps([words.split() for words in COMMANDS]))
    found = [json.loads(line) for line in said.splitlines() if line.startswith("[[")]
    assert [" ".join(words) for words, _, _ in found] == list(COMMANDS), said
    for words, status, packages in found:
        assert status == (2 if words[0] == "show" else 0), said
        assert "pydantic" in packages
        assert not {"prefect", "boto3"} & set(packages), words


def test_completion_imports_no_prefect(site: Path) -> None:
    asked = {"_BASEFORGE_COMPLETE": "complete_bash", "COMP_WORDS": "baseforge build ", "COMP_CWORD": "2"}
    said = run(site, "-m", "flows.cli", PYTHONPROFILEIMPORTTIME="1", **asked)
    lines = [line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")]
    assert "motd" in said
    assert "typer" in lines
    assert not [line for line in lines if line.partition(".")[0] in ("prefect", "boto3")]
