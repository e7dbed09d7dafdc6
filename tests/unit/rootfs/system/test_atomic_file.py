"""Atomic writes: a reader sees the old content or the new one."""

from __future__ import annotations

import errno
import os

import pytest

from rootfs.system.atomic_file import copy_file, create_private_file, replace_link, write_file
from rootfs.system.errors import DiskFull


def mode_of(path):
    return path.stat().st_mode & 0o777


def test_a_file_is_replaced_atomically(tmp_path):
    file = tmp_path / "new folder/it"
    write_file(file, b"one")
    with file.open("rb") as before:
        write_file(file, b"t", b"wo")
        assert (before.read(), file.read_bytes()) == (b"one", b"two")
    assert [path.name for path in file.parent.iterdir()] == ["it"]
    assert mode_of(file) == 0o644


def test_a_failed_write_leaves_no_temporary_file(tmp_path):
    (tmp_path / "it").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "it", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_full_disk_is_reported_with_its_folder(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(DiskFull, match=str(tmp_path)):
        write_file(tmp_path / "it", b"one")
    assert list(tmp_path.iterdir()) == []


def test_a_private_file_is_made_once(tmp_path):
    create_private_file(tmp_path / "it", b"one")
    with pytest.raises(FileExistsError):
        create_private_file(tmp_path / "it", b"two")
    assert ((tmp_path / "it").read_bytes(), mode_of(tmp_path / "it")) == (b"one", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_copy_is_readable_by_all(tmp_path):
    (tmp_path / "source").write_bytes(b"one")
    (tmp_path / "source").chmod(0o600)
    copy_file(tmp_path / "source", tmp_path / "copy")
    assert ((tmp_path / "copy").read_bytes(), mode_of(tmp_path / "copy")) == (b"one", 0o644)


def test_a_link_is_replaced(tmp_path):
    for target in ("one", "two"):
        replace_link(tmp_path / "link", target)
    assert [(path.name, str(path.readlink())) for path in tmp_path.iterdir()] == [("link", "two")]
