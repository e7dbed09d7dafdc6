"""Kept files: whole or not at all, and never written by two at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

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


@pytest.mark.parametrize(
    ("first", "second", "together"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_who_may_hold_a_lock_together(tmp_path, first, second, together):
    held = threading.Event()

    def hold() -> None:
        with kept.locked(tmp_path / "lock", shared=second):
            held.set()

    with ThreadPoolExecutor(1) as pool:
        with kept.locked(tmp_path / "lock", shared=first):
            done = pool.submit(hold)
            assert held.wait(5 if together else 0.2) == together
        done.result(5)
        assert held.is_set()
