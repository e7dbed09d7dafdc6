"""Programs, downloads and waits for locks of other threads can be stopped, which is an error there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from rootfs.process.errors import ProgramFailed
from rootfs.process.run import run
from rootfs.system.errors import LockHeld
from rootfs.system.locks import locked
from rootfs.system.stop import run_stoppable, stop_all, stoppable


@pytest.fixture(autouse=True)
def nothing_stopped_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rootfs.system.stop._stopped", threading.Event())


def stopped(work: Callable[[], object]) -> None:
    """Stop what runs in another thread; raises what it ended with."""
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(work)
        time.sleep(0.3)
        assert not ending.done()
        stop_all()
        ending.result(timeout=10)


def test_a_program_ends_with_an_error() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match="sleep"):
        stopped(lambda: run(["sleep", "60"]))
    assert time.monotonic() - began < 10


def test_programs_that_take_their_time_are_ended_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rootfs.process.run.GRACE", 2.0)
    stubborn = ["sh", "-c", "trap '' TERM; sleep 60"]
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        ending = [pool.submit(run, stubborn) for _ in range(2)]
        time.sleep(0.3)
        stop_all()
        assert all(isinstance(each.exception(timeout=10), ProgramFailed) for each in ending)
    assert time.monotonic() - began < 3.9  # one alone takes two seconds


def test_a_download_is_cancelled() -> None:
    with pytest.raises((asyncio.CancelledError, CancelledError)):
        stopped(lambda: run_stoppable(asyncio.sleep(60)))


def test_a_wait_for_a_lock_ends(tmp_path: Path) -> None:
    def wait() -> None:
        with locked(tmp_path / "lock", wait=60):
            pytest.fail("it is held")

    began = time.monotonic()
    with locked(tmp_path / "lock"), pytest.raises(LockHeld):
        stopped(wait)
    assert time.monotonic() - began < 10


def test_a_clean_up_after_a_stop_waits_for_a_lock(tmp_path: Path) -> None:
    def clean_up() -> None:
        with locked(tmp_path / "lock"):
            pass

    stop_all()
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "lock"):
            ending = pool.submit(clean_up)
            time.sleep(0.3)
        ending.result(timeout=10)


def test_a_stop_after_the_block_calls_nothing() -> None:
    called = threading.Event()
    with stoppable(called.set):
        pass
    stop_all()
    assert not called.is_set()


def test_new_work_after_a_stop_is_stopped_at_once_but_no_clean_up() -> None:
    stop_all()
    work, clean_up = threading.Event(), threading.Event()
    with stoppable(work.set, also_later=True), stoppable(clean_up.set):
        assert work.is_set()
        assert not clean_up.is_set()
    with pytest.raises(asyncio.CancelledError):
        run_stoppable(asyncio.sleep(60))
    assert run(["true"]).status == 0


def test_a_coroutine_returns_its_value_or_raises_its_error() -> None:
    async def value() -> int:
        return 7

    async def failing() -> None:
        raise ValueError("no")

    assert run_stoppable(value()) == 7
    with pytest.raises(ValueError, match="no"):
        run_stoppable(failing())
