"""The wheel: installs with `uv tool install`, carries the shelf, and works in a site's own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent.parent


def uv() -> str:
    """The uv that the set-up uses: one on PATH, or its own in the cache folder."""
    version = (CLONE / "deploy/setup/uv.txt").read_text().split()[0].removeprefix("uv==")
    cache = Path(os.environ.get("BASEFORGE_CACHE") or Path.home() / ".cache/baseforge")
    own = cache / f"uv-{version}"
    found = str(own) if own.is_file() else shutil.which("uv")
    assert found, "there is no uv: run tests/run"
    return found


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`baseforge`, built as a wheel and installed."""
    folder = tmp_path_factory.mktemp("wheel")
    own = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin"), "UV_SYSTEM_CERTS": "1"}
    environment = {**os.environ, **own}
    subprocess.run([uv(), "build", "--wheel", "--out-dir", folder, CLONE], check=True, env=environment)
    [wheel] = folder.glob("*.whl")
    subprocess.run([uv(), "tool", "install", "--python", "/usr/bin/python3", wheel], check=True, env=environment)
    return folder / "bin/baseforge"


def run(tool: Path, folder: Path, *words: str) -> str:
    return subprocess.run([tool, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_it_carries_the_shelf(tool, tmp_path):
    shelf = sorted(path.stem for path in (CLONE / "recipes").glob("*.yaml"))
    assert [line.split(":")[0] for line in run(tool, tmp_path, "validate").splitlines()] == shelf


def test_a_site_has_its_own_recipes(tool, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.yaml").write_text("kind: scratch\nfiles: [{path: /motd, content: hi}]\n")
    assert run(tool, tmp_path, "validate") == "mine: valid (scratch)\n"
    assert run(tool, tmp_path / "recipes", "validate", "--recipes", ".") == "mine: valid (scratch)\n"


def test_its_programs_can_be_run(tool):
    hooks = list((tool.parent.parent / "tools").glob("*/lib/*/site-packages/rootfs/bootstrap/hooks/*"))
    assert len(hooks) == len(list((CLONE / "rootfs/bootstrap/hooks").iterdir())) > 0
    assert [hook for hook in hooks if not os.access(hook, os.X_OK)] == []


def test_it_builds(tool, tmp_path):
    out = run(tool, tmp_path, "build", "hello", "--no-publish", "--json")
    assert '"status": "built"' in out
