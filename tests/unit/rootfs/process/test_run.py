"""Running programs: environment, input, output, errors and time limits."""

import os
import time
from pathlib import Path

import pytest

from rootfs.errors import BuildError
from rootfs.process.errors import ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.run import proxies, run, stream
from rootfs.system.errors import DiskFull


def alive(marker):
    """Whether a process with this word on its command line runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    return True
            except OSError:
                continue
    return False


def gone(marker, seconds=5):
    deadline = time.monotonic() + seconds
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(marker)


def test_output_and_status_come_back():
    done = run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", check=False)
    assert (done.status, done.stdout, done.stderr) == (3, "in", "err")


def test_input_larger_than_a_pipe_goes_in_while_output_comes_out():
    data = b"x" * 1_000_000
    assert run(["cat"], stdin=data, timeout=20).stdout == data.decode()


def test_a_line_without_an_end_is_read_in_parts_and_output_is_cut():
    script = "head -c 100000000 /dev/zero | tr '\\0' a"
    seen = []
    run(["sh", "-c", script], log=seen.append)
    assert max(map(len, seen)) == 64 << 10
    assert sum(map(len, seen)) < (16 << 20) + 200
    assert seen[-1] == "… sh prints more than 16 MiB: the rest is not kept"


def test_too_much_output_is_refused(monkeypatch):
    monkeypatch.setattr("rootfs.process.run.MAX_OUTPUT", 1000)
    with pytest.raises(BuildError, match="cat printed more than"):
        run(["cat", "/dev/zero"])


def test_the_environment_is_clean(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    seen = dict(line.split("=", 1) for line in run(["env"], env={"MINE": "1"}).stdout.splitlines())
    assert "SECRET" not in seen
    assert "https_proxy" not in seen
    assert (seen["LC_ALL"], seen["TZ"], seen["MINE"]) == ("C", "UTC", "1")


def test_programs_that_fetch_are_given_the_users_proxies(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert "https_proxy=http://127.0.0.1:1\n" in run(["env"], env=proxies()).stdout


def test_the_umask_is_022():
    previous = os.umask(0o077)
    try:
        assert run(["sh", "-c", "umask"]).stdout == "0022\n"
    finally:
        os.umask(previous)


def test_a_failure_shows_what_was_printed():
    with pytest.raises(ProgramFailed, match="exit status 7") as caught:
        run(["sh", "-c", "echo why >&2; exit 7"])
    assert "why" in str(caught.value)


def test_a_missing_program_is_named():
    with pytest.raises(ProgramMissing, match="no-such-program is not installed in /usr/local/sbin:/usr/local/bin:"):
        run(["no-such-program"])


def test_time_out_ends_the_program_and_its_children():
    began = time.monotonic()
    with pytest.raises(ProgramTimedOut):
        run(["sh", "-c", "sleep 4711.1 & sleep 4711.1"], timeout=0.3)
    assert time.monotonic() - began < 3
    assert gone("4711.1")


def read_one_line_and_fail(argv):
    with stream(argv) as out:
        assert out.readline() == b"x\n"
        raise KeyError


def test_leaving_a_stream_early_ends_the_program():
    with pytest.raises(KeyError):
        read_one_line_and_fail(["sh", "-c", "echo x; sleep 4712.1"])
    assert gone("4712.1")


def test_a_stream_reports_the_programs_failure_not_the_readers():
    with pytest.raises(ProgramFailed, match="exit status 4"):
        read_one_line_and_fail(["sh", "-c", "echo x; exit 4"])


def test_a_stream_that_hangs_is_stopped():
    with pytest.raises(ProgramTimedOut), stream(["sh", "-c", "sleep 4713.1"], timeout=0.3) as out:
        out.read()


def test_lines_of_both_outputs_are_seen_in_order():
    seen = []
    done = run(["sh", "-c", "echo one; echo two >&2; echo three"], log=seen.append)
    assert (seen, done.stderr) == (["one", "two", "three"], "one\ntwo\nthree")


def test_a_failure_shows_both_outputs_when_they_are_logged():
    with pytest.raises(ProgramFailed) as caught:
        run(["sh", "-c", "echo what; echo why >&2; exit 7"], log=lambda _: None)
    assert caught.value.output == "what\nwhy"


def test_a_streams_errors_are_logged_and_not_its_output():
    seen = []
    with stream(["sh", "-c", "echo data; echo why >&2"], log=seen.append) as out:
        assert out.read() == b"data\n"
    assert seen == ["why"]


@pytest.fixture
def begun(tmp_path):
    """Where a program says that it has begun; who reads it waits for that."""
    os.mkfifo(tmp_path / "begun")
    return tmp_path / "begun"


def test_input_is_made_while_the_program_runs(begun):
    def made():
        assert begun.read_text() == "yes\n"
        return b"there"

    assert run(["sh", "-c", 'echo yes >"$0"; cat', begun], stdin=made).stdout == "there"


def test_input_that_cannot_be_made_ends_the_program(begun):
    def made():
        assert begun.read_text() == "yes\n"
        assert alive("30.81")
        raise LookupError

    with pytest.raises(LookupError):
        run(["sh", "-c", 'echo yes >"$0"; cat; sleep 30; :', begun, "30.81"], stdin=made)
    assert gone("30.81", seconds=5)


@pytest.mark.parametrize("words", [["yes"], ["seq", "1000000"], ["echo", "one"], ["sh", "-c", "echo one; exit 3"]])
def test_a_log_that_fails_ends_the_program_with_its_error(words):
    seen = []

    def log(line):
        seen.append(line)
        raise DiskFull("/var/log")

    began = time.monotonic()
    with pytest.raises(DiskFull, match="/var/log"):
        run(words, log=log, timeout=60)
    assert time.monotonic() - began < 10
    assert len(seen) == 1
    with pytest.raises(DiskFull, match="/var/log"), stream(["sh", "-c", "yes >&2"], log=log, timeout=60) as output:
        output.read()
