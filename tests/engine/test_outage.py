"""A Prefect server that does not answer, from the start or from the middle of a command."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.outcome import complains, start

SOON = 45.0  # seconds, of which some are spent on waiting for a server that may come back
QUICK = 30.0  # seconds, most of them for loading Prefect on a busy machine
SLEEP = "{run: [/probe, sleep, '4']}"
TINY = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, probe: bytes) -> Iterator[Factory]:
    """A site with a local server of its own, and an image whose smoke test takes some seconds."""
    folder = tmp_path_factory.mktemp("outage")
    place = Factory(folder / "site", {**own_home(folder / "home"), "BASEFORGE_LOCAL_NAME": "outage"})
    place.folder.mkdir()
    place.recipe("tiny", TINY)
    (folder / "probe").write_bytes(probe)
    recipes.checked(place, "slow", folder / "probe", SLEEP)
    recipes.checked(place, "wrong", folder / "probe", SLEEP, "{run: [/nothing]}")
    place.built("tiny")
    yield place
    place.run("stop")
    place.remove_images()


def server(site: Factory) -> int:
    """The process of the local server."""
    return int(json.loads((Path(site.settings["BASEFORGE_HOME"]) / "prefect/server.json").read_text())["pid"])


def start_server(site: Factory) -> None:
    """Start the local server if it does not run; the build of an unchanged image would not."""
    assert site.run("page").status == 0


def has_ended(process: int) -> bool:
    """Whether it is gone, or only waits for its parent to take note."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def is_tested(site: Factory) -> bool:
    return any("baseforge-smoke-" in line for line in site.leftovers())


def test_a_build_goes_on_when_the_server_is_killed_in_the_middle(site):
    """And so does the next one of the same command, which has never talked to the server."""
    before = site.builds()
    with (running := start(site, "build", "slow", "tiny", "--force", "--json")).process:
        running.until(lambda _: is_tested(site))
        os.kill(server(site), signal.SIGKILL)
        done = running.end(SOON)
    assert done.status == 0, done.stderr
    assert [(build["image"], build["status"]) for build in done.json] == [("slow", "published"), ("tiny", "published")]
    assert len(site.builds()) == len(before) + 2
    assert "stopped answering" in done.stderr
    assert "a bug" not in done.stderr
    assert "Error logging" not in done.stderr
    assert "EventsWorker" not in done.stderr
    assert site.leftovers() == []


def test_a_failed_build_stays_failed_when_the_server_is_killed(site):
    site.built("tiny")
    with (running := start(site, "build", "wrong")).process:
        running.until(lambda _: is_tested(site))
        os.kill(server(site), signal.SIGKILL)
        done = running.end(SOON)
    assert done.status == 1
    assert "1 of 2 smoke checks failed; nothing was published" in done.stderr
    assert "ConnectError" not in done.stderr


def test_a_server_that_is_killed_after_publishing_does_not_make_the_command_fail(site):
    site.built("tiny")
    before = site.builds()
    with (running := start(site, "build", "tiny", "--force", "--json")).process:
        running.until(lambda _: site.builds() != before)
        os.kill(server(site), signal.SIGKILL)
        done = running.end(2 * SOON)
    assert (done.status, [build["status"] for build in done.json]) == (0, ["published"]), done.stderr


def test_a_night_ends_well_without_a_server(site):
    recipes.checked(site, "new", site.folder.parent / "probe", SLEEP)
    with (running := start(site, "nightly", "--only", "new", "--only", "tiny", "--json")).process:
        running.until(lambda _: is_tested(site))
        os.kill(server(site), signal.SIGKILL)
        done = running.end(2 * SOON)
    assert done.status == 0, done.stderr
    assert "stopped answering" in done.stderr


@contextlib.contextmanager
def refusing_runs(site: Factory) -> Iterator[None]:
    """The site's server has a database that fails at each new flow run, as one that is locked all the time does."""
    file = Path(site.settings["BASEFORGE_HOME"]) / "prefect/prefect.db"
    with contextlib.closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as database:
        database.execute("create trigger refuse before insert on flow_run begin select missing(); end")
        try:
            yield
        finally:
            database.execute("drop trigger refuse")


def test_images_are_built_although_the_server_cannot_write_their_runs_down(site):
    """In a night of a hundred images one failed of it: the server answered 503 for a minute."""
    start_server(site)
    for image in ("one", "two"):
        recipes.checked(site, image, site.folder.parent / "probe", "{run: [/probe, sleep, '0']}")
    before = site.builds()
    with refusing_runs(site):
        done = site.run("nightly", "--only", "one", "--only", "two", "--json")
    assert done.status == 0, done.stderr
    assert {build["status"] for build in done.json["builds"]} == {"published"}
    assert len(site.builds()) == len(before) + 2
    assert "a bug" not in done.stderr


def test_no_second_server_starts_beside_one_that_hangs_and_stop_ends_it(site):
    start_server(site)
    hung = server(site)
    os.kill(hung, signal.SIGSTOP)
    try:
        done = site.run("gc")
        complains(done, 3, f"process {hung}", site.api.pages, "server.log", "baseforge stop")
        assert server(site) == hung
    finally:
        assert site.run("stop").status == 0
    assert has_ended(hung)
    start_server(site)
    assert server(site) != hung


@contextlib.contextmanager
def pages() -> Iterator[str]:
    """Something that answers with a page of HTML, whatever it is asked."""

    class Page(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Please log in</html>")

        do_GET = do_POST = _answer  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/api"
        httpd.shutdown()


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """Something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/api"


@pytest.mark.parametrize(
    ("command", "there", "words"),
    [
        (("build", "tiny", "--force"), nobody, ["does not answer", "PREFECT_API_URL"]),
        (("gc",), silence, ["does not answer", "PREFECT_API_URL"]),
        (("nightly",), pages, ["not a Prefect server", "ends with /api"]),
        (("build", "tiny", "--force"), lambda: contextlib.nullcontext("localhost:4200/api"), ["PREFECT_API_URL"]),
    ],
    ids=["nobody", "silence", "pages", "no address"],
)
def test_a_server_of_the_site_that_cannot_be_used_is_reported_at_once(site, command, there, words):
    with there() as address:
        began = time.monotonic()
        done = site.run(*command, env={"PREFECT_API_URL": address})
    complains(done, 3, address, *words)
    assert " tree " not in done.stderr  # no work has begun
    assert time.monotonic() - began < QUICK


@pytest.mark.parametrize("command", [("build", "tiny", "--force"), ("serve",)], ids=["build", "serve"])
def test_wrong_credentials_are_reported_at_once(site, command):
    start_server(site)
    done = site.run(*command, env={"PREFECT_API_URL": f"{site.api.pages}/api", "PREFECT_API_AUTH_STRING": "me:wrong"})
    assert "wrong" not in complains(done, 3, "denies access", "PREFECT_API_AUTH_STRING")
    assert " tree " not in done.stderr
