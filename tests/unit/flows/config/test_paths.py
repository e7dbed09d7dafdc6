"""The data folder is private to its user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.config.options import BuildOptions
from flows.config.paths import data_folder, make_data_folder
from flows.config.settings import Settings
from flows.runtime.context import open_build, open_context
from rootfs.errors import MachineError
from rootfs.system.errors import FolderForeign

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "above/home"))
    return tmp_path / "above/home"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_private_from_the_first_command_on(home):
    with open_context(Settings(store="")) as ctx, open_build(ctx, "noble", BuildOptions()) as build:
        assert mode(home) == 0o700
        assert mode(build.log_file) == 0o600
        ctx.store.create_document("inputs/a.json", b"{}")
    assert mode(home / "store") == 0o700


def test_rights_that_others_have_to_an_older_one_are_taken_away(home):
    (home / "logs").mkdir(parents=True)
    home.chmod(0o777)
    make_data_folder()
    assert mode(home) == 0o700
    assert (home / "logs").is_dir()


def test_the_user_s_own_link_to_it_is_followed(home, tmp_path):
    home.parent.mkdir()
    (tmp_path / "large disk").mkdir(0o755)
    home.symlink_to(tmp_path / "large disk")
    make_data_folder()
    assert mode(tmp_path / "large disk") == 0o700


@as_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_another_users_is_refused_by_name(home, tmp_path, kind):
    home.parent.mkdir()
    target = tmp_path / "target"
    target.mkdir(0o755)
    if kind == "folder":
        home.mkdir(0o777)
    else:
        home.symlink_to(target)
    os.chown(home, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(FolderForeign, match=r"belongs to nobody.*\n.*BASEFORGE_HOME") as failed:
        make_data_folder()
    assert (failed.value.where, failed.value.status) == (str(home), 3)
    assert mode(target) == 0o755


def test_a_data_folder_that_cannot_be_made_is_named(home):
    home.parent.write_text("")
    with pytest.raises(MachineError, match=rf"{data_folder()} cannot be made.*\n.*BASEFORGE_HOME"):
        make_data_folder()
