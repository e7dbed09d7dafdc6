"""Freshness from outside: nights and builds note checks, and fixes wait for an image that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian import Archive, Deb, own_addresses, served, signer
from tests.support.factory import Factory
from tests.support.receivers import Webhook, webhook
from tests.support.waiting import until

SUITE = "bookworm"
BASE = f"kind: scratch\nsuite: {SUITE}\npackages: [app, other]\n"
CHILD = "kind: dockerfile\ncontexts: {base: app}\n"
OFTEN = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}  # seconds from one look for due runs to the next, usually 10
FAILING = f"{BASE}build: [['false']]\n"


@dataclass(frozen=True)
class Shop:
    """A site, and an archive of its own with security updates."""

    site: Factory
    archive: Archive
    hook: Webhook

    def image(self, name: str, *more: str) -> dict[str, Any]:
        """What `show` says of an image."""
        found: dict[str, Any] = self.site.run("show", name, "--json", *more).json
        return found


@pytest.fixture
def shop(tmp_path: Path, workshop: object) -> Iterator[Shop]:
    site = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-fresh"})
    site.folder.mkdir()
    with signer(tmp_path / "key") as key, served(tmp_path / "archive") as server, webhook() as hook:
        archive = Archive(tmp_path / "archive", key)
        archive.publish(Deb("app", "1"), Deb("other", "1"), suite=SUITE)
        for pocket in ("updates", "security"):
            archive.publish(suite=f"{SUITE}-{pocket}")
        site.settings["BASEFORGE_MIRRORS"] = json.dumps(dict.fromkeys(own_addresses(SUITE), server.address))
        site.settings["BASEFORGE_KEYRINGS"] = json.dumps({"debian": str(key.keyring)})
        site.settings["BASEFORGE_NOTIFY"] = hook.address
        site.recipe("app", BASE)
        site.recipe("child", CHILD, Dockerfile="FROM base\nCOPY one /one\n", one="1")
        yield Shop(site, archive, hook)
    site.remove_images()


def test_fixes_wait_for_a_failing_image_and_the_images_on_it(shop: Shop) -> None:
    site = shop.site
    first = site.run("nightly", "--json")
    assert (first.status, first.json["summary"]) == (0, {"published": 2}), first.stderr
    [alarm] = first.json["alarms"]
    assert alarm.startswith("bookworm: full support of Debian 12 (bookworm) ended on 2026-07-11 (LTS until 2028-06-30")
    assert alarm.endswith(": app, child")
    assert [image["waiting"] for image in site.run("list", "--json").json] == [[], []]

    fixed = Deb("app", "2")
    shop.archive.publish(fixed, suite=f"{SUITE}-security")
    shop.archive.publish(fixed, Deb("other", "2"), suite=f"{SUITE}-updates")
    site.recipe("app", FAILING)
    second = site.run("nightly", "--json")
    assert second.status == 1
    expected = [("app", "1", "2", True), ("other", "1", "2", False)]
    images = {each["image"]: each for each in second.json["images"]}
    assert {name: each["status"] for name, each in images.items()} == {"app": "failed", "child": "held"}
    for name in ("app", "child"):
        found = [(each["name"], each["old"], each["new"], each["security"]) for each in images[name]["waiting"]]
        assert found == expected, name
    since = images["app"]["waiting"][0]["since"]

    shop.archive.publish(Deb("app", "3"), suite=f"{SUITE}-updates")
    third = site.run("nightly", "--json").json["images"]
    assert [each["waiting"][0] for each in third] == [
        {"name": "app", "old": "1", "new": "3", "since": since, "security": True}
    ] * 2
    assert "1 fixes waiting, 1 security, since " in site.run("show", "child").stdout
    assert "1 (1 security)" in site.run("list").stdout

    site.recipe("app", BASE)
    assert site.run("nightly").status == 0
    assert [image["waiting"] for image in site.run("list", "--json").json] == [[], []]


def test_unchanged_build_is_a_check_and_an_offline_one_is_not(shop: Shop) -> None:
    """The images are fresh for 36 hours after it, whatever the nights do."""
    site = shop.site
    site.recipe("app", f"{BASE}support: lts\nfresh_within: 1h\n")
    assert site.run("build", "child").status == 0
    document = site.folder / "store/nights/checked.json"
    old = json.loads(document.read_text())
    past = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"
    for check in old["images"].values():
        check["checked"] = past
    document.write_text(json.dumps(old))
    assert site.run("build", "child", "--offline").status == 0
    assert json.loads(document.read_text()) == old
    assert site.run("build", "child").status == 0
    fresh = shop.image("child")["freshness"]
    assert fresh["age"] < 120
    assert shop.image("app")["freshness"]["within"] == 3600
    assert shop.image("child")["freshness"]["within"] == 36 * 3600
    assert [image["support"]["kind"] for image in site.run("list", "--json").json] == ["lts", "lts"]


def test_alarm_comes_by_its_own_flow_while_another_one_hangs(shop: Shop) -> None:
    site = shop.site
    assert site.run("build", "app").status == 0
    assert site.run("list", "--stale", "--json").json == []
    document = site.folder / "store/nights/checked.json"
    document.write_text(document.read_text().replace(f'"within":{36 * 3600}', '"within":1'))
    until(lambda: site.run("list", "--stale").status == 1, 30)
    assert [image["image"] for image in site.run("list", "--stale", "--json").json] == ["app"]
    site.recipe("slow", "kind: scratch\nfiles: [{path: /x, content: x}]\nbuild: [[sleep, '25']]\n")
    with site.served(env=OFTEN):
        night = site.run("prefect", "deployment", "run", "build/build", "--param", "image=slow")
        assert night.status == 0, night.stderr
        until(lambda: site.runs.is_dir() and any(site.runs.iterdir()), 60)
        asked = site.run("prefect", "deployment", "run", "freshness/freshness", "--watch")
        assert asked.status == 0, asked.stderr
        until(lambda: len(shop.hook.posts) == 2, 30)
        assert not (site.folder / "store/images/slow").exists(), "the alarm has waited for the build"
        until((site.folder / "store/images/slow/newest.json").exists, 60)
    stale, support = (post["message"] for post in shop.hook.posts)
    assert "app: stale: last checked " in stale
    assert "bookworm: full support of Debian 12 (bookworm) ended on 2026-07-11" in support
    site.run("stop")
