"""Programs that somebody else ends."""

import threading
import time

import pytest

from rootfs.errors import ProgramFailed
from rootfs.programs import Programs, alone, waiting
from rootfs.run import run


def long(programs, ended, *, begun=None):
    with programs.gathered():
        if begun:
            begun.set()
        with pytest.raises(ProgramFailed):
            run(["sleep", "600"])
        ended.append(True)


def test_those_that_run_end_and_those_that_start_later_too():
    programs, ended, begun = Programs(), [], threading.Event()
    thread = threading.Thread(target=long, args=(programs, ended), kwargs={"begun": begun})
    thread.start()
    assert begun.wait(20)
    time.sleep(0.1)
    programs.end()
    thread.join(20)
    long(programs, ended)
    assert ended == [True, True]


def test_others_go_on():
    programs = Programs()
    programs.end()
    assert run(["true"]).status == 0
    with programs.gathered():
        pass
    assert run(["true"]).status == 0


def test_it_is_seen_when_one_takes_its_time():
    programs = Programs()
    with programs.gathered():
        run(["true"])
        assert not programs.busy.is_set()
        run(["sleep", "0.5"])
    assert programs.busy.is_set()


def test_one_is_waited_for_only_when_it_has_its_input():
    programs = Programs()

    def made():
        time.sleep(0.2)
        assert not programs.busy.is_set()
        return b"x"

    with programs.gathered():
        assert run(["sh", "-c", "cat; sleep 0.1"], stdin=made).stdout == "x"
        assert programs.busy.is_set()


def test_other_waiting_is_seen_too():
    programs = Programs()
    waiting()
    with programs.gathered():
        assert not programs.busy.is_set()
        waiting()
    assert programs.busy.is_set()


def test_one_that_has_work_for_all_processors_is_left_alone_with_it():
    programs = Programs()
    with programs.gathered():
        with alone():
            run(["sleep", "0.3"])
            run(["cat"], stdin=lambda: b"x")
        assert not programs.busy.is_set()
        run(["cat"], stdin=lambda: b"x")
    assert programs.busy.is_set()
