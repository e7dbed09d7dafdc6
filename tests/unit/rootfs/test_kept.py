"""Kept files: whole or not at all."""

from __future__ import annotations

import pytest

from rootfs import kept


def test_a_file_is_replaced_whole(tmp_path):
    file = tmp_path / "new folder/it"
    kept.write(file, b"one")
    with file.open("rb") as before:
        kept.write(file, b"two")
        assert (before.read(), file.read_bytes()) == (b"one", b"two")
    assert [path.name for path in file.parent.iterdir()] == ["it"]
    assert file.stat().st_mode & 0o777 == 0o644


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "it").mkdir()
    with pytest.raises(IsADirectoryError):
        kept.write(tmp_path / "it", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
