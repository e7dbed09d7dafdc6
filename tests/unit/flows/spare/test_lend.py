"""Commands in forks of a spare process: nobody can tell them from those that run alone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.spare import talk
from tests.support.waiting import until

# A spare process that has loaded nothing, and whose commands are lines of Python in BASEFORGE_SCRIPT.
LENDER = """
import os, sys
from flows.spare import fork, keep, lend
with keep.only_one() as alone:
    line = lend.lend(sys.argv[1]) if alone else None
if line:
    fork.to_its_end(lambda: exec(os.environ["BASEFORGE_SCRIPT"], globals()), fork.become(line))
"""
COMMAND = """
import os, sys
from flows.spare.borrow import borrowed
if (status := borrowed()) is not None:
    sys.exit(status)
print("alone", flush=True)
exec(os.environ["BASEFORGE_SCRIPT"])
"""
NAME = "from flows.spare import alike; print(alike.name())"
LONG = 20.0  # seconds in which all of this happens

FACTS = """
import json, os, signal, sys
def is_given(number):
    try:
        return os.get_inheritable(number)
    except OSError:
        return False
umask = os.umask(0)
os.umask(umask)
print(json.dumps([
    sys.argv, dict(os.environ), os.getcwd(), umask, sys.stdin.read(),
    [number for number in range(300) if is_given(number)],
    [signal.getsignal(each) == signal.SIG_IGN for each in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE)],
    sys.stdout.line_buffering, sys.stdout.encoding, os.isatty(0),
]))
print("to standard error", file=sys.stderr)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    (tmp_path / "home/prefect").mkdir(parents=True)
    return tmp_path / "home/prefect"


@contextlib.contextmanager
def spare(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ}  # what C libraries have added to it is not in there
    command = [sys.executable, "-c", NAME]
    name = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    with subprocess.Popen([sys.executable, "-c", LENDER, name], env=environment, start_new_session=True) as process:
        try:
            until(lambda: is_heard(name))
            yield process
        finally:
            process.kill()


def is_heard(name: str) -> bool:
    with contextlib.suppress(OSError), talk.reach(name):
        return True
    return False


def start(script: str, *words: str, wrapper: tuple[str, ...] = (), **more: object) -> subprocess.Popen[str]:
    command = [*wrapper, sys.executable, "-c", COMMAND, *words]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(command, env={**os.environ, "BASEFORGE_SCRIPT": script}, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def run(script: str, *words: str, **more: object) -> tuple[int, str, str]:
    with start(script, *words, **more) as process:
        stdout, stderr = process.communicate(timeout=LONG)
    return process.returncode, stdout, stderr


def children(process: subprocess.Popen[bytes]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def only_child(process: subprocess.Popen[bytes]) -> str:
    """The process of the one command that runs: those of earlier questions may take a moment to go."""
    until(lambda: len(children(process)) == 1)
    return children(process)[0]


MUCH = "BASEFORGE_BIG=" + "y" * 100_000
IGNORING = ("sh", "-c", "trap '' HUP; umask 027; exec \"$@\" 7</dev/null", "sh")


@pytest.mark.parametrize(
    ("words", "wrapper"),
    [
        (("build", "näme", "", "a\nb"), ()),
        (("list",), IGNORING),
        (("x" * 100_000,), ("env", "BASEFORGE_ODD=\udcff", MUCH)),
    ],
    ids=["words", "ignored signals, umask, a file", "much, and what is no text"],
)
def test_a_command_has_all_that_it_was_given(words, wrapper, home, tmp_path):
    text = tmp_path / "text"
    text.write_text("from standard input")
    with text.open() as file:
        alone = run(FACTS, *words, wrapper=wrapper, stdin=file)
        file.seek(0)
        with spare(home):
            lent = run(FACTS, *words, wrapper=wrapper, stdin=file)
    assert alone == (0, "alone\n" + lent[1], "to standard error\n")
    assert lent == (0, lent[1], "to standard error\n")
    assert json.loads(lent[1])[0] == ["-c", *words]


def test_a_terminal_is_one(home):
    ours, theirs = pty.openpty()
    with spare(home):
        status, *_ = run("print(os.isatty(1), sys.stdout.line_buffering, *os.get_terminal_size())", stdout=theirs)
    assert (status, os.read(ours, 100)) == (0, b"True True 0 0\r\n")
    for file in (ours, theirs):
        os.close(file)


def test_a_folder_that_was_removed_is_still_the_commands(home, tmp_path):
    (tmp_path / "gone").mkdir()
    script = ("sh", "-c", 'cd gone; rmdir ../gone; exec "$@"', "sh")
    with spare(home):
        assert run("print(os.path.realpath('/proc/self/cwd'))", wrapper=script)[1] == f"{tmp_path}/gone (deleted)\n"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit(-1)", 255),
        ("sys.exit(300)", 44),
        ("sys.stdout.close(); sys.exit(4)", 4),
        ("raise ValueError", 1),
        ("os._exit(77)", 77),
        ("os.kill(os.getpid(), 15)", -15),
        ("os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 6)", -6),
    ],
)
def test_a_command_ends_as_its_fork_ends(script, status, home):
    with spare(home) as process:
        assert run(script)[:2] == (status, "")
        until(lambda: not children(process))


LATE = """
import atexit, sys, threading, time
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
print("said", end="")
print("to standard error", end="", file=sys.stderr)
sys.exit(%s)
"""


@pytest.mark.parametrize("status", ["5", "0", "", "'a word'"])
def test_what_a_command_leaves_to_its_end_is_done(status, home):
    alone = run(LATE % status)
    with spare(home):
        assert ("alone\n" + (lent := run(LATE % status))[1], lent[0], lent[2]) == (alone[1], alone[0], alone[2])
    assert lent[1] == "saida thread\nat the end\n"


LOCKS = """
import fcntl, sys
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
memory = bytearray(b"x" * (64 << 20))
sys.exit(0)
"""


def test_what_a_command_had_locked_is_free_when_it_has_ended(home):
    with spare(home):
        assert [run(LOCKS) for _ in range(5)] == [(0, "", "")] * 5


def test_loading_begins_no_thread():
    script = "import os; from flows.spare import lend; lend.load(); print(len(os.listdir('/proc/self/task')))"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout == b"1\n"


def test_one_whose_last_words_cannot_be_written_ends_as_python_does(home, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full, spare(home):
        status, _, said = run("print('x'); sys.exit(0)", stdout=full)
    assert (status, "No space left on device" in said) == (120, True)


WAITS = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_signals_are_passed_on(number, status, home):
    heeding = ("env", "--default-signal=HUP")  # which whoever runs the tests may have ignored
    with spare(home), start(WAITS, wrapper=heeding) as command:
        assert command.stdout
        assert command.stdout.readline() == "ready\n"
        command.send_signal(number)
        assert command.wait(LONG) == status


def test_a_command_that_is_stopped_stops_and_goes_on(home):
    ticks = "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.01)"
    with spare(home) as process, start(ticks) as command:
        assert command.stdout
        command.stdout.readline()
        worker = only_child(process)
        command.send_signal(signal.SIGTSTP)
        for each in (command.pid, worker):
            until(lambda each=each: " T " in Path(f"/proc/{each}/stat").read_text())  # type: ignore[misc]
        command.send_signal(signal.SIGCONT)
        until(lambda: " T " not in Path(f"/proc/{worker}/stat").read_text())
        command.terminate()


@pytest.mark.parametrize("who", ["command", "spare"])
def test_nothing_outlives_who_is_killed(who, home):
    with spare(home) as process, start(WAITS) as command:
        assert command.stdout
        command.stdout.readline()
        worker = only_child(process)
        (command if who == "command" else process).kill()
        assert command.wait(LONG) == -signal.SIGKILL
        until(lambda: not Path(f"/proc/{worker}").exists())
        assert (process.poll() is None) is (who == "command")


def test_a_spare_process_that_is_told_to_end_waits_for_its_commands(home):
    reads = "print('ready', flush=True); sys.stdin.read(); sys.exit(5)"
    with (
        spare(home) as process,
        start(reads, stdin=subprocess.PIPE) as command,
    ):
        assert command.stdout
        command.stdout.readline()
        process.terminate()
        time.sleep(0.2)
        assert process.poll() is None
        assert run("")[1] == "alone\n"
        command.communicate()
        assert (command.returncode, process.wait(LONG)) == (5, 0)
    assert list(home.glob("spare-*")) == []
    assert run("")[1] == "alone\n"


def test_many_commands_at_once(home):
    with spare(home), contextlib.ExitStack() as commands:
        running = [commands.enter_context(start(f"import time; time.sleep(0.3); sys.exit({n})")) for n in range(9)]
        assert [command.wait(LONG) for command in running] == list(range(9))


@pytest.mark.parametrize(
    ("words", "wrapper"),
    [
        (("serve",), ()),
        (("stop",), ()),
        (("build",), ("env", "PREFECT_API_URL=http://127.0.0.1:1/api")),
        (("build",), ("env", "TZ=Europe/Athens")),
        (("build",), ("nice",)),
        (("build",), ("sh", "-c", 'exec "$@" <&-', "sh")),
    ],
    ids=["serve", "stop", "a server of their own", "another environment", "nice", "no input"],
)
def test_what_is_not_alike_runs_alone(words, wrapper, home):
    with spare(home):
        assert run("", *words, wrapper=wrapper)[1] == "alone\n"


def test_a_socket_that_nobody_listens_at_is_no_obstacle(home):
    with spare(home) as process:
        process.kill()
        process.wait()
        assert len(list(home.glob("spare-*"))) == 1
        assert run("")[:2] == (0, "alone\n")
        with spare(home):
            assert run("")[:2] == (0, "")


def test_one_that_does_not_answer_is_not_waited_for(home):
    with spare(home) as process:
        process.send_signal(signal.SIGSTOP)
        with start("sys.exit(3)") as command:
            assert command.wait(LONG) == 3
            process.kill()  # what it was sent goes with it


def test_there_is_but_one(home):
    with spare(home):
        second = subprocess.run([sys.executable, "-c", LENDER, "another"], timeout=LONG, check=False)
        assert second.returncode == 0
        assert len(list(home.glob("spare-*"))) == 1
        assert run("")[1] == ""
