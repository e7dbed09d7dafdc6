"""Private folders belong to this user, and nobody else can replace them."""

from __future__ import annotations

import os

import pytest

from rootfs.errors import MachineError
from rootfs.system import private
from rootfs.system.errors import FolderForeign

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.mark.parametrize("above", ["shared", "shared/deeper"])
def test_a_folder_that_another_user_can_rename_is_refused(tmp_path, above):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(MachineError, match=rf"write in {shared}, which is not sticky\n.*SETTING") as failed:
        private.make_private_folder(tmp_path / above / "ours", "SETTING")
    assert failed.value.status == 3
    shared.chmod(0o1777)
    private.make_private_folder(tmp_path / above / "ours")
    assert private.is_private(tmp_path / above / "ours")


def test_a_link_in_a_place_where_others_can_replace_it_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/link").symlink_to(tmp_path / "real")
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(MachineError, match="other users can rename this folder: they may write in"):
        private.make_private_folder(tmp_path / "shared/link/ours")
    (tmp_path / "link").symlink_to(tmp_path / "shared/below")
    (tmp_path / "shared/below").mkdir()
    with pytest.raises(MachineError, match="other users can rename this folder: they may write in"):
        private.make_private_folder(tmp_path / "link")


@as_root
@pytest.mark.parametrize(("group", "is_taken"), [(0, True), (NOBODY, False)])
def test_a_group_with_other_members_counts_as_others(tmp_path, group, is_taken):
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, group)
    (tmp_path / "shared").chmod(0o775)
    if is_taken:
        private.make_private_folder(tmp_path / "shared/ours")
    else:
        with pytest.raises(MachineError, match="other users can rename this folder: they may write in"):
            private.make_private_folder(tmp_path / "shared/ours")


@as_root
def test_a_look_at_another_users_folder_changes_nothing(tmp_path):
    private.check_owner(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    with pytest.raises(FolderForeign):
        private.check_owner(tmp_path / "theirs")
