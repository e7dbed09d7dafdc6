"""`baseforge serve`, for its user, for another user of the machine and for a foreign web page."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.receivers import webhook
from tests.support.waiting import until

TINY = "kind: scratch\nfiles: [{path: /motd, content: hi}]\n"
BROKEN = "kind: scratch\nfiles:\n  - {path: /x, from: x}\nbuild:\n  - [sh, -c, 'echo no compiler >&2; exit 9']\n"
NIGHT = 180.0  # seconds
OFTEN = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds from one look for due runs to the next, usually 10
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# What another user would look for: the names of all files below a folder, and those of them that can be read.
SEARCH = """
import os, sys
names = [os.path.join(folder, name) for folder, _, files in os.walk(sys.argv[1]) for name in files]
for name in [*names, *sys.argv[2:]]:
    try:
        open(name).close()
    except OSError:
        continue
    print(name)
"""
# `serve` whose patience is short, for what would take minutes.
HASTY = "from flows.orchestration import health; health.SOON = {}; health.PATIENCE = 2; health.SELDOM = 1"
HASTY += "; from flows.cli.main import main; main(['serve'])"
# From now on the scheduler fails.
BREAK = """
create trigger broken before insert on flow_run when new.auto_scheduled begin select raise(abort, 'broken'); end;
delete from flow_run where state_name = 'Scheduled';
"""


@dataclass(frozen=True)
class Served:
    """A site that is served, and what `serve` has printed until all was ready."""

    site: Factory
    said: str


def site_in(folder: Path, *, new: bool = False) -> Factory:
    """A site with a data folder, and so a server, of its own; if it is new, the server makes its own database."""
    home = {"BASEFORGE_HOME": str(folder / "home")} if new else own_home(folder / "home")
    made = Factory(folder / "site", {**home, "BASEFORGE_LOCAL_NAME": "baseforge-serve"})
    made.folder.mkdir()
    made.recipe("tiny", TINY)
    return made


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """In a folder that every user of the machine can enter."""
    folder = Path(tempfile.mkdtemp(prefix="serve-"))
    folder.chmod(0o755)
    site = site_in(folder, new=True)
    (site.folder / "baseforge.toml").write_text('nightly_cron = "* * * * *"\n')
    lines: list[str] = []
    try:
        with site.served(said=lines, env=OFTEN):
            yield Served(site, "".join(lines))
    finally:
        site.run("stop")
        shutil.rmtree(folder)


def test_the_scheduled_night_runs(served: Served) -> None:
    until(served.site.builds, NIGHT)
    assert {build.split("@")[0] for build in served.site.builds()} == {"tiny"}


def test_failing_image_produces_one_message_and_its_recovery_another(served: Served) -> None:
    """With a night each minute. Settings and recipes are read anew by each night."""
    site, settings = served.site, served.site.folder / "baseforge.toml"
    before = settings.read_text()

    def nights() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((site.folder / "store/nights/newest.json").read_bytes())["nights"]
        return found

    with webhook() as hook:
        settings.write_text(f'{before}notify = ["{hook.address}"]\n')
        site.recipe("broken", BROKEN)
        until(lambda: hook.posts, NIGHT)
        assert (hook.posts[0]["title"].partition(": ")[2], "no compiler" in hook.posts[0]["message"]) == (
            "1 failed",
            True,
        )
        told = nights()[0]["date"]
        until(
            lambda: nights()[0]["date"] > told and "broken" in (*nights()[0]["failed"], *nights()[0]["paused"]), NIGHT
        )
        site.recipe("broken", TINY)
        until(lambda: len(hook.posts) > 1, NIGHT)
        settings.write_text(before)
    assert [post["title"].partition(": ")[2] for post in hook.posts] == ["1 failed", "1 recovered"]
    assert nights()[0]["date"] > told


def test_the_scheduler_makes_runs_ahead(served: Served) -> None:
    future = {"state": {"name": {"any_": ["Scheduled"]}}, "expected_start_time": {"after_": str(datetime.now(UTC))}}
    for deployment in ("nightly", "housekeeping"):
        chosen = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": future}
        assert len(served.site.api.ask("POST", "flow_runs/filter", chosen)) >= 3


def test_a_second_serve_is_refused(served: Served) -> None:
    done = served.site.run("serve")
    assert done.status == 3
    assert "`baseforge serve` is running already" in done.stderr


def test_doctor_tells_of_the_server(served: Served) -> None:
    [found] = [each for each in served.site.run("doctor", "--json").json["machine"] if each["name"] == "Prefect server"]
    assert found["ok"], found
    assert re.match(rf"{served.site.api.pages}/api, \d+ runs scheduled", found["found"])


def test_the_command_that_is_printed_works_in_another_folder_without_any_settings(served: Served) -> None:
    [line] = re.findall(r"^by hand: (.*)$", served.said, re.MULTILINE)
    assert "image=tiny" in line
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(["sh", "-c", line], cwd="/", env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [run] = re.findall(r"UUID: (\S+)", done.stdout)
    until(lambda: served.site.api.ask("GET", f"flow_runs/{run}")["state"]["type"] == "COMPLETED", 120)


def test_only_page_prints_the_login(served: Served) -> None:
    [line] = re.findall(r"^their login: (.*)$", served.said, re.MULTILINE)
    api = served.site.api
    assert subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout.splitlines() == [
        api.pages,
        f"login: {api.login}",
    ]
    password = api.login.partition(":")[2].encode()
    assert password.decode() not in served.said
    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert password not in (process / "cmdline").read_bytes()
        except OSError:
            continue
    files = [path for path in Path(served.site.settings["BASEFORGE_HOME"]).rglob("*") if path.is_file()]
    assert [path.name for path in files if password in path.read_bytes()] == ["login"]


def test_the_pages_ask_their_own_server(served: Served) -> None:
    said = httpx.get(f"{served.site.api.pages}/ui-settings").json()
    assert (said["api_url"], said["auth"]) == ("/api", "BASIC")


def test_another_user_reads_nothing(served: Served) -> None:
    beside = served.site.folder / "beside"
    beside.touch(mode=0o644)
    home = Path(served.site.settings["BASEFORGE_HOME"])
    names = [str(path) for path in home.rglob("*") if path.is_file()]
    assert {"login", "prefect.db", "prefect.db-wal", "server.log"} <= {Path(name).name for name in names}
    servers = [f"/proc/{json.loads((home / 'prefect/server.json').read_text())['pid']}/environ"]
    command = [*NOBODY, "/usr/bin/python3", "-c", SEARCH, home, *names, *servers, beside]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{beside}\n"
    assert [path.name for path in home.glob("prefect/*.db*") if path.stat().st_mode & 0o077] == []


def test_another_user_is_refused_by_the_api(served: Served) -> None:
    api = served.site.api
    deployment = api.ask("GET", "deployments/name/build/build")
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]
    for method, path, body in (
        ("POST", "deployments/filter", {}),
        ("PATCH", f"deployments/{deployment['id']}", {"pull_steps": steps}),
        ("POST", f"deployments/{deployment['id']}/create_flow_run", {}),
        ("GET", "admin/settings", None),
    ):
        for login in (None, ("baseforge", "guessed")):
            assert httpx.request(method, f"{api.pages}/api/{path}", json=body, auth=login).status_code == 401
    assert api.ask("GET", f"deployments/{deployment['id']}")["pull_steps"] == deployment["pull_steps"]


def test_a_page_of_another_origin_is_refused(served: Served) -> None:
    def preflight(origin: str) -> httpx.Response:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        return httpx.options(f"{api.pages}/api/deployments/filter", headers={"Origin": origin, **asks})

    api = served.site.api
    assert "access-control-allow-origin" not in preflight("http://elsewhere.example").headers
    assert preflight(api.pages).headers["access-control-allow-origin"] == api.pages


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/deployments/filter"])
def test_a_name_that_was_pointed_at_this_machine_is_not_answered(served: Served, path: str) -> None:
    pages = served.site.api.pages
    host = {"Host": f"elsewhere.example:{pages.rpartition(':')[2]}"}
    assert httpx.get(f"{pages}{path}", headers=host).status_code == 400


def test_services_that_stop_working_end_it_later_on(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    (site.folder / "baseforge.toml").write_text('nightly_cron = "* * * * *"\n')
    streams: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    argv = [sys.executable, "-c", HASTY.format(45)]
    with subprocess.Popen(argv, cwd=site.folder, env=site.environment, **streams) as process:
        try:
            assert process.stderr
            lines = iter(process.stderr.readline, "")
            assert any(line.startswith("nightly:") for line in lines)
            with contextlib.closing(
                sqlite3.connect(f"{site.environment['BASEFORGE_HOME']}/prefect/prefect.db")
            ) as data:
                data.executescript(f"pragma busy_timeout = 30000; {BREAK}")
                said = "".join(lines)
                data.execute("drop trigger broken")
        finally:
            process.kill()
            site.run("stop")
    assert process.returncode == 3, said
    assert re.search(r"the scheduler has made \d+ runs of nightly, and should have made 3; no night would happen", said)


def test_the_server_starts_again_at_the_same_address(served: Served) -> None:
    first = served.site.run("page").stdout
    elsewhere = served.site.run("page", env={"BASEFORGE_SERVER_PORT": "1"})
    assert (elsewhere.status, elsewhere.stdout) == (3, "")
    assert "`baseforge stop` ends it" in elsewhere.stderr
    assert served.site.run("stop").status == 0
    again = served.site.run("page").stdout
    assert (again.splitlines()[0], again != first) == (first.splitlines()[0], True)  # the login is a new one


@pytest.mark.parametrize("found", ["its own server", "a server that was there"])
def test_serve_ends_with_its_server_and_contacts_no_other(tmp_path: Path, found: str) -> None:
    site = site_in(tmp_path)
    if found == "a server that was there":
        assert site.run("page").status == 0
    with site.served(env=OFTEN) as process:
        api = site.api
        os.kill(json.loads((tmp_path / "home/prefect/server.json").read_text())["pid"], signal.SIGKILL)
        with contextlib.ExitStack() as closing:
            thief = None
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    place = ("127.0.0.1", int(api.pages.rpartition(":")[2]))
                    thief = thief or closing.enter_context(socket.create_server(place))
                assert thief is None or not select.select([thief], [], [], 0)[0], "`serve` talks to another program"
                time.sleep(0.01)
        assert process.wait(timeout=30) == 3
    site.run("page")
    assert site.api.login != api.login
    site.run("stop")


def test_many_idle_connections_and_errors_neither_stop_the_server_nor_fill_its_log(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    limited = ["prlimit", "--nofile=1024:2048", str(Path(sys.executable).with_name("baseforge")), "page"]
    subprocess.run(limited, cwd=site.folder, env=site.environment, check=True, capture_output=True)
    place = ("127.0.0.1", int(site.api.pages.rpartition(":")[2]))
    log = tmp_path / "home/prefect/server.log"
    with contextlib.ExitStack() as closing:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        closing.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        idle = [closing.enter_context(socket.create_connection(place)) for _ in range(1500)]
        assert site.run("page", timeout=60).status == 0
        more = [closing.enter_context(socket.create_connection(place)) for _ in range(800)]  # more than it can have
        until(lambda: all(_is_closed(each) for each in (*idle, *more)), 60)
    assert site.run("page", timeout=60).status == 0
    assert log.stat().st_size < 100_000, log.read_text(errors="replace")[:4000]
    with log.open("a") as file:
        file.write("an error that somebody has caused\n" * 300_000)
    until(lambda: log.stat().st_size < 100_000)
    site.run("stop")


def _is_closed(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class Nothing(http.server.BaseHTTPRequestHandler):
    """Answers whatever is asked with an empty list."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """No word of it."""


def test_a_server_that_is_not_prefect_is_an_error_and_its_password_is_masked(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        chosen = {"PREFECT_API_URL": f"http://me:secretpw@127.0.0.1:{other.server_port}/api"}
        for words in (("serve",), ("doctor",)):
            done = site.run(*words, env=chosen, timeout=120)
            assert done.status == 3
            assert "Traceback" not in done.stderr
            assert "secretpw" not in done.stdout + done.stderr
            assert words == ("doctor",) or "is not one of Prefect's API" in done.stderr, done.stderr
        other.shutdown()


def test_services_that_do_not_work_end_it_with_the_reason(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    environment = {**site.environment, "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    serve: dict[str, Any] = {"cwd": site.folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", HASTY.format(5)], check=False, **serve)
    doctor = site.run("doctor", "--json")
    site.run("stop")
    assert done.returncode == 3, done.stderr
    assert "the services of the Prefect server do not work: the scheduler has made 0 runs of nightly" in done.stderr
    [found] = [each for each in doctor.json["machine"] if each["name"] == "Prefect server"]
    assert (found["ok"], doctor.status) == (False, 3)
    assert "the scheduler has made 0 runs" in found["found"]


def test_a_port_that_another_program_has_is_an_error(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = site.run("page", env={"BASEFORGE_SERVER_PORT": str(port)})
    assert (done.status, done.stdout) == (3, "")
    assert f"the setting `server_port`: port {port} of this machine cannot be used: {os.strerror(98)}" in done.stderr
