"""When a fork of a spare process may stand for a command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flows.spare import alike

BORN = [sys.executable, "-c", "from flows.spare import alike; print(alike.born())"]
LOADED = """
import os
read = set()
class Watched(type(os.environ)):
    def __getitem__(self, name):
        read.add(name)
        return super().__getitem__(name)
    def __contains__(self, name):
        read.add(name)
        return super().__contains__(name)
os.environ.__class__ = Watched
from flows.spare import lend
lend.load()
print(*read)
"""


def born(*wrapper: str, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PWD", "SHLVL")}
    return subprocess.run(
        [*wrapper, *BORN], env={**environment, **more}, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    ("wrapper", "variables"),
    [
        ((), {"LANG": "tlh"}),
        ((), {"PREFECT_LOGGING_LEVEL": "DEBUG"}),
        ((), {"HTTPS_PROXY": "http://proxy.example"}),
        ((), {"PYTHONPATH": "/srv"}),
        (("nice", "-n", "5"), {}),
        (("chrt", "--batch", "0"), {}),
        (("taskset", "1"), {}),
        (("prlimit", "--nofile=1000:1000"), {}),
        (("setpriv", "--no-new-privs"), {}),
        (("unshare", "--user", "--map-root-user"), {}),
        (("choom", "-n", "7", "--"), {}),
    ],
    ids=lambda value: "-".join(value)[:20] if value else "",
)
def test_what_a_process_is_born_with_tells_it_apart(wrapper, variables):
    assert born(*wrapper, **variables) != born()


def test_what_a_process_is_given_does_not(tmp_path):
    given = born(PWD="/srv", OLDPWD="/", SHLVL="7", BASEFORGE_STORE="/store", DOCKER_HOST="tcp://engine.example:1")
    assert given == born("sh", "-c", 'umask 077; cd /; exec "$@" 3</dev/null', "sh")


def test_what_is_read_late_is_not_read_while_a_command_is_loaded():
    # What goes through all that is there finds none of them: a name that is read is one that is asked for.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(alike.READ_LATE)}
    environment["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
    done = subprocess.run([sys.executable, "-c", LOADED], env=environment, check=True, capture_output=True, text=True)
    read = done.stdout.split()
    assert "HOME" in read
    assert [name for name in read if name.startswith(alike.READ_LATE)] == []


def test_the_code_is_that_of_the_server_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    alone = alike.of_code()
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect/server.json").write_text("1")
    first = alike.of_code()
    (tmp_path / "prefect/server.json").write_text("2")
    assert len({alone, first, alike.of_code()}) == 3


def test_the_code_is_all_of_our_files(tmp_path, monkeypatch):
    monkeypatch.setattr(alike, "CODE", tmp_path)
    (tmp_path / "rootfs/deep").mkdir(parents=True)
    seen = {alike.of_code()}
    for text in ("a", "bc"):
        (tmp_path / "rootfs/deep/module.py").write_text(text)
        seen.add(alike.of_code())
    (tmp_path / "rootfs/deep/README.md").touch()
    seen.add(alike.of_code())
    assert len(seen) == 3
