"""File locks: exclusive or shared, with a time limit that names the holder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootfs.system.errors import LockHeld
from rootfs.system.locks import is_held, locked, try_locked

NOBODY = 65534
HOLD = """
import fcntl, sys, time
with open(sys.argv[1]) as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def holding(path: Path, user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Another process, perhaps another user's, that tries to lock the file."""
    argv = [Path(sys.executable).resolve(), "-c", HOLD, path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, user=user) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("first", "second", "together"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_who_may_hold_a_lock_together(tmp_path, first, second, together):
    held = threading.Event()

    def hold() -> None:
        with locked(tmp_path / "lock", shared=second):
            held.set()

    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "lock", shared=first):
            done = pool.submit(hold)
            assert held.wait(5 if together else 0.2) == together
        done.result(5)
        assert held.is_set()


def test_a_wait_ends_in_time_and_names_who_holds_the_lock(tmp_path):
    (lock := tmp_path / "lock").touch()
    with holding(lock) as process:
        began = time.monotonic()
        with pytest.raises(LockHeld) as failed, locked(lock, wait=0.3):
            os.abort()
        assert 0.3 <= time.monotonic() - began < 5
        assert f"process {process.pid} of" in failed.value.message
        assert "python" in failed.value.message
        assert failed.value.where == str(lock)
        assert failed.value.status == 3
        assert is_held(lock)
        with try_locked(lock) as alone:
            assert not alone
    with locked(lock, wait=0), try_locked(tmp_path / "another") as alone:
        assert alone


@as_root
def test_another_user_cannot_lock_what_is_ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    for each in (folder, *folder.parents):  # one more where tests run side by side
        if each == folder or each.name.startswith(("pytest-", "popen-")):
            each.chmod(0o755)
    lock = folder / "lock"
    lock.touch(0o644)
    with holding(lock, NOBODY):
        assert is_held(lock), "another user gets to it"
    with locked(lock):
        assert lock.stat().st_mode & 0o777 == 0o600
    with holding(lock, NOBODY), locked(lock, wait=0):
        assert is_held(lock)


@as_root
def test_a_shared_folders_lock_is_for_those_who_may_write_in_it(tmp_path):
    tmp_path.chmod(0o2770)
    os.chown(tmp_path, NOBODY, NOBODY)
    with locked(tmp_path / "lock"):
        status = (tmp_path / "lock").stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o660, NOBODY, NOBODY)


@as_root
@pytest.mark.parametrize(("owner", "rights"), [(NOBODY, 0o755), (0, 0o2770)], ids=["their folder", "shared folder"])
def test_a_file_that_somebody_has_put_in_place_of_a_lock_stays_as_it_was(tmp_path, owner, rights):
    os.chown(tmp_path, owner, NOBODY)
    tmp_path.chmod(rights)
    lock = tmp_path / "lock"
    lock.write_text("secret")
    lock.chmod(0o600)
    os.chown(lock, 0, 0)
    with locked(lock):
        pass
    status = lock.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, 0, 0)


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_a_lock_is_a_file_and_not_reached_by_a_link(tmp_path, kind):
    target = tmp_path / "target"
    if kind == "link":
        target.write_text("precious")
    lock = tmp_path / "lock"
    {"folder": lock.mkdir, "pipe": lambda: os.mkfifo(lock)}.get(kind, lambda: lock.symlink_to(target))()
    with pytest.raises(OSError, match=str(lock)), locked(lock):
        os.abort()
    assert not is_held(lock)
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_text() == "precious"


def test_a_lock_file_is_not_emptied(tmp_path):
    (lock := tmp_path / "lock").write_text("precious")
    with locked(lock):
        pass
    assert lock.read_text() == "precious"


def test_a_lock_file_that_is_removed_meanwhile_is_made_anew(tmp_path):
    lock = tmp_path / "lock"

    def hold() -> bool:
        with locked(lock, wait=5):
            return is_held(lock)

    with ThreadPoolExecutor(1) as pool:
        with locked(lock):
            waiting = pool.submit(hold)
            time.sleep(0.2)
            lock.unlink()
        assert waiting.result(5)
