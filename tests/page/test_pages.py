"""The pages at the address that `baseforge serve` prints, in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.page.browser import Browser, browser
from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.waiting import until

TINY = "kind: scratch\nfiles: [{path: /motd, content: hi}]\n"
SLOW = "kind: scratch\nfiles: [{path: /motd, content: hi}]\nbuild: [[sleep, '600']]\n"
LONG = 240.0  # seconds
ANSWER = 40.0  # seconds in which the server does what the page asked for
REFUSED = "Unknown error while creating flow run"
PASSWORD = "//input[@type='password']"
MENU = "//button[normalize-space()='Open menu']"


@dataclass(frozen=True)
class Site:
    """A served site, and the address that was printed."""

    factory: Factory
    pages: str

    def state(self, run: str) -> str:
        return str(self.factory.api.ask("GET", f"flow_runs/{run}")["state"]["type"])

    def builds(self) -> set[str]:
        """The ids of the runs of the deployment `build`."""
        of_build = {"deployments": {"name": {"any_": ["build"]}}}
        return {run["id"] for run in self.factory.api.ask("POST", "flow_runs/filter", of_build)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    made = Factory(folder / "site", {**own_home(folder / "home"), "BASEFORGE_LOCAL_NAME": "baseforge-page"})
    made.folder.mkdir()
    made.recipe("tiny", TINY)
    made.recipe("slow", SLOW)
    said: list[str] = []
    try:
        with made.served(said=said, env={"PREFECT_RUNNER_POLL_FREQUENCY": "1"}):
            [pages] = re.findall(r"^pages: (\S+)$", "".join(said), re.MULTILINE)
            yield Site(made, pages)
    finally:
        made.run("stop")


@pytest.fixture(scope="module")
def logged_in(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that was opened at the printed address, where the printed login was typed."""
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        found.open(site.pages)
        found.type(PASSWORD, site.factory.run("page").stdout.splitlines()[1].removeprefix("login: "))
        found.click("//button[normalize-space()='Login']")
        found.see("//a[normalize-space()='Deployments']")
        yield found


def start(page: Browser, site: Site, image: str) -> str:
    """Start a build by the form of its deployment; the id of its run.

    The server refuses a form while something else writes to its database (SQLite): the page says so and does not try
    again. A person does.
    """
    before, until = site.builds(), time.monotonic() + LONG
    while not (new := site.builds() - before):
        assert time.monotonic() < until, f"no new run: {page.shown()}"
        page.open(f"{site.pages}/v2/deployments")
        page.follow("//a[normalize-space()='build'][contains(@href, 'deployment/')]")
        page.click("//button[normalize-space()='Run']")
        page.click("//*[@role='menuitem'][contains(., 'Custom run')]")
        page.type("//textarea", image)
        page.click("//button[normalize-space()='Submit']")
        sent = time.monotonic()
        while not (page.shows(REFUSED) or site.builds() - before) and time.monotonic() - sent < ANSWER:
            time.sleep(0.2)
    [run] = new
    return run


def cancel(page: Browser, site: Site, run: str) -> None:
    """Cancel the run whose page is open; again if the server refuses it, as in `start`."""
    until = time.monotonic() + LONG
    while site.state(run) == "RUNNING":
        assert time.monotonic() < until, f"it runs on: {page.shown()}"
        page.open(page.address)
        page.click(MENU)
        page.click("//*[@role='menuitem'][contains(., 'Cancel')]")
        page.click("//*[@role='dialog' or @role='alertdialog']//button[normalize-space()='Cancel Flow Run']")
        sent = time.monotonic()
        while site.state(run) == "RUNNING" and time.monotonic() - sent < ANSWER:
            time.sleep(0.2)


def reaches(page: Browser, site: Site, run: str, state: str) -> None:
    """Wait until the run has this state."""
    until = time.monotonic() + LONG
    while (now := site.state(run)) != state:
        assert time.monotonic() < until, f"the run is {now}, not {state}: {page.shown()}"
        time.sleep(0.2)


def test_without_the_login_the_pages_show_nothing(site: Site, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as stranger:
        stranger.open(f"{site.pages}/v2/runs")
        stranger.type(PASSWORD, "admin:guessed")
        stranger.click("//button[normalize-space()='Login']")
        stranger.see("//*[contains(text(), 'nvalid')]")
        assert "/login" in stranger.address


def test_a_build_is_started_by_the_form_and_listed(site: Site, logged_in: Browser) -> None:
    run = start(logged_in, site, "tiny")
    reaches(logged_in, site, run, "COMPLETED")
    assert [build.split("@")[0] for build in site.factory.builds()] == ["tiny"]
    logged_in.follow("//a[normalize-space()='Runs']")
    logged_in.see("//a[contains(., 'tiny · build')]")
    logged_in.see("//*[normalize-space()='Completed']")
    others = {url for url in logged_in.reached() if not url.startswith((f"{site.pages}/", "data:", "blob:", "chrome:"))}
    assert others == set()


def test_a_running_build_is_cancelled(site: Site, logged_in: Browser) -> None:
    run = start(logged_in, site, "slow")
    reaches(logged_in, site, run, "RUNNING")
    logged_in.follow("//a[normalize-space()='Runs']")
    logged_in.follow("//a[contains(., 'slow · build')]")
    cancel(logged_in, site, run)
    reaches(logged_in, site, run, "CANCELLED")
    logged_in.see("//*[normalize-space()='Cancelled']")
    until(lambda: site.factory.leftovers() == [], LONG)
    assert [build for build in site.factory.builds() if build.startswith("slow@")] == []
