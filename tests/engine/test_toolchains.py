"""Tools for `build:` that are no Debian packages: the setting `toolchains`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.factory import Factory
from tests.support.outcome import complains

RECIPE = """\
kind: scratch
tools: [shout]
build: [[shout, made]]
files: [{path: /made, from: made}]
"""


@pytest.fixture
def toolchain(tmp_path: Path) -> Path:
    """A folder with a program in `bin` that needs a file beside it."""
    folder = tmp_path / "toolchain"
    (folder / "bin").mkdir(parents=True)
    (folder / "word").write_text("HELLO")
    program = folder / "bin/shout"
    program.write_text(f'#!/bin/sh\ncat {folder}/word >"$1"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture
def site(tmp_path: Path, toolchain: Path) -> Factory:
    settings = {"BASEFORGE_LOCAL_NAME": "baseforge-toolchains", "BASEFORGE_TOOLCHAINS": str(toolchain)}
    site = Factory(tmp_path / "site", settings)
    site.folder.mkdir()
    site.recipe("loud", RECIPE)
    return site


def test_a_tool_of_a_toolchain_makes_the_image_and_counts_in_its_inputs(site: Factory, toolchain: Path) -> None:
    [record] = site.built("loud")
    assert record["tools"]["shout"].startswith("sha256:")
    assert site.built("loud")[0]["status"] == "unchanged"
    assert site.run("verify", "loud").status == 0
    program = toolchain / "bin/shout"
    program.write_text(program.read_text() + "# another version\n")
    assert site.built("loud")[0]["status"] == "published"
    site.remove_images()


def test_without_the_setting_the_error_names_it(site: Factory) -> None:
    done = site.run("build", "loud", env={"BASEFORGE_TOOLCHAINS": ""})
    complains(done, 3, "not installed: shout", "toolchains", "loud.yaml:2:9")


@pytest.mark.parametrize(("mode", "folder"), [(0o777, ""), (0o777, "bin"), (0o775, "")])
def test_a_toolchain_that_others_can_change_is_refused(site: Factory, toolchain: Path, mode: int, folder: str) -> None:
    (toolchain / folder).chmod(mode)
    complains(site.run("list"), 2, "BASEFORGE_TOOLCHAINS", "can change", str(toolchain / folder))


@pytest.mark.parametrize("path", ["relative", "/nowhere"])
def test_a_toolchain_that_is_not_there_is_refused(site: Factory, path: str) -> None:
    complains(site.run("list", env={"BASEFORGE_TOOLCHAINS": path}), 2, "toolchains", path)
