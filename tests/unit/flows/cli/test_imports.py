"""Commands that need no Prefect never import it: loading it takes a second."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"


def imported(words: list[str], folder: Path) -> set[str]:
    """The packages that a command imports."""
    home = {"BASEFORGE_HOME": str(folder / "home"), "BASEFORGE_STORE": str(folder / "store")}
    environment = {**os.environ, **home, "PYTHONPROFILEIMPORTTIME": "1", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    if words[0] == "COMPLETE":
        line, words = " ".join(["baseforge", *words[1:], ""]), []
        environment |= {"_BASEFORGE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "2"}
    (folder / "recipes").mkdir()
    (folder / "recipes/motd.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "flows.cli", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (2 if words[:1] == ["show"] else 0), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


COMMANDS = ("list", "validate", "validate motd", "lock motd", "show motd", "--version", "COMPLETE build")


@pytest.mark.parametrize("words", [each.split() for each in COMMANDS])
def test_no_prefect(words: list[str], tmp_path: Path) -> None:
    packages = imported(words, tmp_path)
    assert "pydantic" in packages
    assert "prefect" not in packages
    assert "boto3" not in packages
