"""An unchanged image is answered before Prefect is loaded: no server is asked, and none is started."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.publish.record import Record
from rootfs.lock.lock import input_digest
from rootfs.process.host import native_architecture
from tests.support.factory import Factory

COMMANDS = (["build", "hello", "motd"], ["nightly"], ["nightly", "--only", "motd"])
NOWHERE = "http://127.0.0.1:9/api"


@pytest.fixture
def site(tmp_path: Path) -> Factory:
    factory = Factory(tmp_path, {"BASEFORGE_LOCAL_NAME": "baseforge-unchanged"})
    factory.shelf("hello")
    factory.recipe("motd", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    return factory


def test_unchanged_images_need_no_prefect(site: Factory) -> None:
    site.built("hello", "motd")
    for words in COMMANDS:
        done = site.run(*words, env={"PREFECT_API_URL": NOWHERE, "PYTHONPROFILEIMPORTTIME": "1"})
        assert done.status == 0, done.stderr
        assert re.search("^motd:? +unchanged", done.stderr, re.MULTILINE)
        assert " prefect" not in done.stderr
    assert {record["status"] for record in site.run("nightly", "--json").json["builds"]} == {"unchanged"}


def test_a_changed_image_needs_the_server_also_when_another_is_unchanged(site: Factory) -> None:
    site.built("hello", "motd")
    site.recipe("motd", "kind: scratch\nfiles: [{path: /motd, content: changed}]\n")
    done = site.run("build", "hello", "motd", env={"PREFECT_API_URL": NOWHERE})
    assert done.status == 3
    assert "hello: unchanged" not in done.stderr
    assert NOWHERE in done.stderr
    records = {record["image"]: record["status"] for record in site.built("hello", "motd")}
    assert records == {"hello": "unchanged", "motd": "published"}


@pytest.mark.parametrize(("version", "status"), [("999", "unchanged"), ("0.1", "published")], ids=["newer", "older"])
def test_a_build_with_newer_tools_is_kept_and_one_with_older_tools_is_made_again(
    site: Factory, version: str, status: str
) -> None:
    """As where machines of several releases share a store."""
    site.recipe(
        "tooled", "kind: scratch\nfiles: [{path: /motd, content: hello}]\ntools: [dpkg]\nbuild: [[dpkg, --version]]\n"
    )
    [record] = site.built("tooled")
    made_with(site, record, {"dpkg": version})
    done = site.run("build", "tooled", "--json")
    assert [each["status"] for each in done.json] == [status], done.stderr
    assert ("newer tools than this machine has" in done.stderr) == (status == "unchanged")


def made_with(site: Factory, record: dict[str, Any], tools: dict[str, str]) -> None:
    """Change the store as if the build had been made with other versions of its tools."""
    other = Record.model_validate({**record, "status": "published", "tools": {**record["tools"], **tools}})
    digest = input_digest(other.recipe_digest, other.lock, native_architecture(), other.tools)
    store = site.folder / "store"
    (store / other.key).write_text(other.model_copy(update={"input_digest": digest}).model_dump_json())
    shutil.rmtree(store / "inputs")


def test_a_night_that_only_looks_up_cleans_up_after_killed_runs(site: Factory) -> None:
    site.built("hello", "motd")
    left = site.runs / "00000000-0000-4000-8000-000000000000"
    left.mkdir()
    try:
        done = site.run("nightly", "--json")
        assert {record["status"] for record in done.json["builds"]} == {"unchanged"}
        assert not left.exists()
    finally:
        shutil.rmtree(left, ignore_errors=True)
