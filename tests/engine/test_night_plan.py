"""Nights over an archive of the test's own: what is planned, what is built and why, and what the store keeps of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian import Archive, Deb, Served, own_addresses, served, signer
from tests.support.factory import Done, Factory

SUITE = "bullseye"  # which no other test asks for
PACKAGED = f"kind: scratch\nsuite: {SUITE}\npockets: []\n"
TOOL = f"{PACKAGED}packages: [tool]\n"
BROKEN = "kind: scratch\nfiles: [{path: /x, from: x}]\nbuild: [[sh, -c, 'echo no compiler >&2; exit 9']]\n"
WITHOUT_PREFECT = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PYTHONPROFILEIMPORTTIME": "1"}


@dataclass(frozen=True)
class Shop:
    """A site and the archive that its recipes take packages from."""

    site: Factory
    archive: Archive
    server: Served

    def offer(self, **versions: str) -> None:
        """Publish these packages and no others."""
        self.archive.publish(*(_deb(name, version) for name, version in versions.items()), suite=SUITE)

    def nights(self) -> list[dict[str, Any]]:
        """The documents of all nights, the newest first, by the list in the store."""
        folder = self.site.folder / "store/nights"
        listed = json.loads((folder / "newest.json").read_text())["nights"]
        assert {each["date"] for each in listed} == {path.stem for path in folder.glob("2*.json")}
        return [json.loads((folder / f"{each['date']}.json").read_text()) for each in listed]


def _deb(name: str, version: str) -> Deb:
    """A package whose changelog says that each version fixes a CVE of its number."""
    head, end = (
        "; urgency=low\n\n  * Fix CVE-2026-{}000.\n\n",
        " -- A <a@example.org>  Mon, 01 Jun 2026 10:00:00 +0000\n",
    )
    entries = [f"{name} ({each}) {SUITE}{head.format(each)}{end}" for each in range(int(version), 0, -1)]
    changelog = {f"usr/share/doc/{name}/changelog.gz": gzip.compress("".join(entries).encode(), mtime=0)}
    return Deb(name, version, files={f"usr/share/{name}": version}, programs=changelog)


def images(done: Done) -> dict[str, dict[str, Any]]:
    """A night's or a plan's images by name."""
    return {each["image"]: each for each in done.json["images"]}


def statuses(done: Done) -> dict[str, str]:
    return {name: each["status"] for name, each in images(done).items()}


@pytest.fixture
def shop(tmp_path: Path, workshop: object) -> Iterator[Shop]:
    site = Factory(tmp_path / "site", {"BASEFORGE_LOCAL_NAME": "baseforge-plan"})
    site.folder.mkdir()
    site.recipe("tool", TOOL)
    site.recipe("app", "kind: dockerfile\ncontexts: {base: tool}\n", Dockerfile="FROM base\nCOPY new /new\n", new="x")
    site.recipe("other", f"{PACKAGED}packages: [other]\n")
    with signer(tmp_path / "key") as key, served(tmp_path / "archive") as server:
        site.settings["BASEFORGE_MIRRORS"] = json.dumps(dict.fromkeys(own_addresses(SUITE), server.address))
        site.settings["BASEFORGE_KEYRINGS"] = json.dumps({"debian": str(key.keyring)})
        shop = Shop(site, Archive(tmp_path / "archive", key), server)
        shop.offer(tool="1", other="1")
        yield shop
    site.remove_images()


def files(site: Factory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in site.folder.glob("store/**/*") if path.is_file()}


def test_only_images_with_a_changed_package_and_their_children_are_built(shop: Shop) -> None:
    site = shop.site
    first = site.run("nightly", "--json")
    assert (first.status, first.json["summary"]) == (0, {"published": 3}), first.stderr
    assert {name: (each["planned"], each["reason"]) for name, each in images(first).items()} == {
        "tool": ("build", "new image"),
        "app": ("wait", "new image"),
        "other": ("build", "new image"),
    }
    builds = site.builds()

    second = site.run("nightly", "--json", env=WITHOUT_PREFECT)
    assert (second.status, second.json["summary"]) == (0, {"unchanged": 3}), second.stderr
    assert " prefect" not in second.stderr
    assert site.builds() == builds

    shop.offer(tool="3", other="1")
    before = files(site)
    plan = site.run("nightly", "--dry-run", "--json", env=WITHOUT_PREFECT)
    assert plan.status == 0, plan.stderr
    assert " prefect" not in plan.stderr
    assert files(site) == before
    assert {name: (each["action"], each["reason"]) for name, each in images(plan).items()} == {
        "tool": ("build", "tool 1 → 3"),
        "app": ("wait", "its base image tool is built first"),
        "other": ("unchanged", ""),
    }
    assert "tool 1 → 3" in site.run("nightly", "--dry-run").stdout

    shop.server.asked.clear()
    third = site.run("nightly", "--json")
    assert [path for path, _ in shop.server.asked if path.endswith("InRelease")] == [f"/dists/{SUITE}/InRelease"]
    assert statuses(third) == {"tool": "published", "app": "published", "other": "unchanged"}, third.stderr
    found = images(third)
    assert (found["tool"]["reason"], found["app"]["reason"]) == ("tool 1 → 3", "base image changed: tool")
    assert found["tool"]["changes"] == [
        {"name": "tool", "old": "1", "new": "3", "cves": ["CVE-2026-2000", "CVE-2026-3000"]}
    ]
    assert "base image changed: tool" in third.stderr
    pages = site.api.ask(
        "POST", "artifacts/filter", {"artifacts": {"key": {"any_": ["nightly"]}}, "sort": "CREATED_DESC"}
    )
    assert (pages[0]["type"], "| app | published |" in pages[0]["data"]) == ("markdown", True)
    nights = shop.nights()
    assert [night["number"] for night in nights] == [3, 2, 1]
    assert [night["images"] for night in nights] == [each.json["images"] for each in (third, second, first)]


def test_an_image_stays_unchanged_if_its_base_image_comes_out_the_same(shop: Shop) -> None:
    site = shop.site
    site.run("nightly")
    site.recipe("tool", f"{TOOL}build: [['true']]\n")
    done = site.run("nightly", "--json")
    assert statuses(done) == {"tool": "published", "app": "unchanged", "other": "unchanged"}, done.stderr
    assert (images(done)["tool"]["reason"], images(done)["app"]["planned"]) == ("recipe changed", "wait")


def test_a_failed_image_holds_its_children_and_is_paused_until_its_inputs_change(shop: Shop) -> None:
    site = shop.site
    site.recipe("tool", BROKEN)
    ended = [site.run("nightly", "--json") for _ in range(3)]
    assert [done.status for done in ended] == [1, 1, 0]
    assert statuses(ended[0]) == {"tool": "failed", "app": "held", "other": "published"}
    assert statuses(ended[2]) == {"tool": "paused", "app": "held", "other": "unchanged"}
    found = images(ended[2])
    assert "failed 2 times since 20" in found["tool"]["reason"]
    assert "exit status 9; next try in the next night" in found["tool"]["reason"]
    assert found["app"]["reason"] == "its base image tool is paused"
    assert images(ended[0])["app"]["reason"] == "its base image tool failed"
    only = site.run("nightly", "--only", "tool", "--json")  # by name it is tried all the same
    assert (statuses(only), only.json["only"], only.json["number"]) == ({"tool": "failed"}, ["tool"], 3)
    assert images(site.run("nightly", "--dry-run", "--json"))["tool"]["action"] == "paused"
    assert site.run("build", "tool").status == 1  # whatever comes of it, a build by hand ends a pause
    assert images(site.run("nightly", "--dry-run", "--json"))["tool"]["action"] == "build"
    site.recipe("tool", TOOL)
    healed = site.run("nightly", "--json")
    assert statuses(healed) == {"tool": "published", "app": "published", "other": "unchanged"}
    assert images(healed)["tool"]["recovered"]
    assert not images(healed)["other"]["recovered"]
    memory = json.loads((site.folder / "store/images/tool/failures.json").read_text())
    assert memory["times"] == 0
