"""The documents' recipes are built and their commands run, in the order of the pages, in one site."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import ROOT, blocks, write_recipes
from tests.support.factory import BASEFORGE, Factory
from tests.support.services.tools import tool

NOT_BUILT = {"other"}  # its source is on a mirror that does not exist
MANUAL = ("recipes/README.md", "deploy/README.md")


def commands(*pages: str) -> list[str]:
    """The commands of all `console` blocks but the examples."""
    shown = [block for page in pages for block in blocks(page) if (block.language, block.words) == ("console", "")]
    return [command for block in shown for command in block.commands]


def run(site: Factory, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of a document as a person would: in a shell, with `baseforge` on PATH."""
    environment = {**site.environment, "PATH": f"{BASEFORGE.parent}:{os.environ['PATH']}"}
    line = ["sh", "-c", command]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site with the recipes of recipes/README.md, the secret that one of them uses, and buildx."""
    folder = tmp_path_factory.mktemp("site")
    plugins = folder / "docker/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(tool("buildx"))
    (folder / "token").write_text("a-secret-of-the-site\n")
    own = {"LOCAL_NAME": "documents", "SECRETS": json.dumps({"token": str(folder / "token")})}
    made = Factory(
        folder, {**{f"BASEFORGE_{name}": value for name, value in own.items()}, "DOCKER_CONFIG": str(plugins.parent)}
    )
    yield made
    made.remove_images()


@pytest.fixture(scope="module")
def built(site: Factory) -> list[str]:
    """The names of the recipes of recipes/README.md, which are built."""
    names = [name for name in write_recipes("recipes/README.md", site.recipes) if name not in NOT_BUILT]
    for name in NOT_BUILT:
        (site.recipes / f"{name}.yaml").unlink()
    site.built(*names)
    return names


def test_the_recipes_of_the_manual_are_built(site, built):
    assert {each.partition("@")[0] for each in site.builds()} >= set(built)


def test_the_commands_of_the_manual_work(site, built):
    for command in commands(*MANUAL):
        done = run(site, site.folder, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_two_commands_of_readme_end_as_shown(site):
    """The same lines, but for seconds, sizes and digests."""
    shown = [block for block in blocks("README.md") if block.commands == ["./baseforge build noble"]]
    for block in shown:
        done = run(site, ROOT, block.commands[0])
        assert done.returncode == 0, done.stderr
        expected = [" ".join(line.split()[:2]) for line in block.text.splitlines()[1:]]
        assert [" ".join(line.split()[:2]) for line in done.stderr.splitlines()] == expected
    assert len(shown) == 2
