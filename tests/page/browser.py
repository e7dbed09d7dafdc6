"""A browser for tests: read the page, click and type."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

SLOWEST = 60.0  # seconds
SENT = "Network.requestWillBeSent"
# As root, in a container, and asking nobody but the server that is tested.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)


@dataclass(frozen=True)
class Browser:
    """Pages are drawn again at any time: whatever is done is tried until it works."""

    driver: webdriver.Chrome

    @property
    def address(self) -> str:
        return self.driver.current_url

    def reached(self) -> set[str]:
        """The addresses that requests went to since this was asked last, without those that the browser refused."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = {m["params"]["requestId"]: m["params"]["request"]["url"] for m in messages if m["method"] == SENT}
        refused = {m["params"]["requestId"] for m in messages if m["params"].get("blockedReason") == "csp"}
        return {url for request, url in sent.items() if request not in refused}

    def open(self, address: str) -> None:
        self.driver.get(address)

    def see(self, path: str, within: float = SLOWEST) -> None:
        """Wait until this (XPath) can be seen."""
        self._until(lambda: self.driver.find_element(By.XPATH, path).is_displayed(), path, within)

    def click(self, path: str) -> None:
        self._until(lambda: self.driver.find_element(By.XPATH, path).click() is None, path)

    def follow(self, path: str) -> None:
        """Go where a link leads: a click on one that is being drawn again would be lost."""

        def followed() -> bool:
            self.driver.get(self.driver.find_element(By.XPATH, path).get_attribute("href") or "")
            return True

        self._until(followed, path)

    def type(self, path: str, text: str) -> None:
        """Into a field that is empty."""

        def typed() -> bool:
            field = self.driver.find_element(By.XPATH, path)
            field.clear()
            field.send_keys(text)
            return field.get_attribute("value") == text

        self._until(typed, path)

    def shows(self, text: str) -> bool:
        """Whether the page has this text now."""
        return text in self.driver.page_source

    def shown(self) -> str:
        """What the page shows, for a test's message."""
        return f"{self.address} shows:\n{self.driver.find_element(By.TAG_NAME, 'body').text}"

    def _until(self, done: Callable[[], bool], what: str, within: float = SLOWEST) -> None:
        waiting = WebDriverWait(self.driver, within, ignored_exceptions=(WebDriverException,))
        try:
            waiting.until(lambda _: done())
        except TimeoutException:
            raise AssertionError(f"no {what} within {within:g} s: {self.shown()}") from None


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new one, that remembers nothing."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "chromium is not installed: tests/run does it"
    assert driver, "chromium-driver is not installed: tests/run does it"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(found)
    finally:
        found.quit()
