"""Layers on base images: built, run, shared, rebuilt when the base image changes, and verified."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Done, Factory
from tests.support.services.registry import registry

LOCAL_NAME = "baseforge-layers"
BASE = (
    "kind: debootstrap\nsuite: trixie\nvariant: essential\nimage: {cmd: [sh], env: {KEPT: base}, labels: {a: base}}\n"
)
CHILD = """\
kind: layer
from: base
include: [hello]
users: [{name: app, uid: 1234, home: /srv/app}]
files: [{path: /etc/motd, content: "child\\n"}]
customise: [change.sh]
image: {cmd: [hello], user: app, env: {OWN: child}}
smoke: [{run: [hello], stdout: Hello}]
"""
# A file and a folder gone, a folder instead of a link, another mode, one more name for a file that is as it was.
CHANGE = """\
#!/bin/sh
set -e
rm -r /etc/issue /usr/share/common-licenses /usr/bin/awk
mkdir /usr/bin/awk /var/lock/held
install --directory --owner=1234 --mode=0710 /run/child
echo $$ >/run/child.pid
chmod 0700 /opt
ln /usr/bin/perl /usr/bin/another-perl
"""
TOP = """\
kind: layer
from: child
customise: [change.sh]
smoke:
  - run: [sh, -ec, "! test -e /etc/motd && test -x /usr/bin/hello && test -s /etc/issue.net"]
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Factory]:
    own = {"LOCAL_NAME": LOCAL_NAME, "REGISTRY": f"{address}/team", "REGISTRY_INSECURE": "true"}
    made = Factory(tmp_path_factory.mktemp("site"), {f"BASEFORGE_{name}": value for name, value in own.items()})
    made.recipe("base", BASE)
    made.recipe("child", CHILD, change_sh=CHANGE)
    made.recipe("top", TOP, change_sh="#!/bin/sh\nrm /etc/motd\n")
    yield made
    made.remove_images()


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def first(site: Factory) -> Done:
    """A layer on a layer, of which nothing is there yet."""
    return site.run("build", "top", "--json")


def by_image(done: Done) -> dict[str, Any]:
    return {record["image"]: record for record in done.json}


def blob(site: Factory, digest: str) -> Path:
    return site.folder / "store/blobs" / digest.replace(":", "/")


def said(site: Factory, digest: str) -> Any:
    return json.loads(blob(site, digest).read_bytes())


def test_base_images_are_built_first_with_their_own_record(site, first):
    assert first.status == 0, first.stderr
    assert [(each["image"], each["status"]) for each in first.json] == [
        (name, "published") for name in ("base", "child", "top")
    ]
    built = by_image(first)
    for name, parent in (("child", "base"), ("top", "child")):
        named = {key: built[parent][key] for key in ("image", "build", "manifest_digest")}
        assert built[name]["parent"] == named
    assert built["base"]["parent"] is None
    assert [package["name"] for package in built["child"]["lock"]["packages"]] == ["hello"]
    assert built["child"]["packages"] == built["base"]["packages"] + 1
    assert site.leftovers() == []


def test_layers_are_shared_and_small(site, first, address):
    built = by_image(first)
    layers = [built[name]["layer_digest"] for name in ("base", "child", "top")]
    manifest = said(site, built["top"]["manifest_digest"])
    assert [layer["digest"] for layer in manifest["layers"]] == layers
    assert said(site, built["top"]["config_digest"])["rootfs"]["diff_ids"] == [
        built[name]["diff_id"] for name in ("base", "child", "top")
    ]
    base, child, top = (layer["size"] for layer in manifest["layers"])
    assert child < base / 4
    assert top < 100_000
    details = json.loads(docker("image", "inspect", f"{LOCAL_NAME}/top"))[0]
    assert details["RootFS"]["Layers"] == said(site, built["top"]["config_digest"])["rootfs"]["diff_ids"]
    pushed = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{address}/team/top:latest"]
    assert json.loads(subprocess.run(pushed, capture_output=True, check=True).stdout) == manifest


def test_a_layer_keeps_its_base_image_s_settings(site, first):
    config = said(site, by_image(first)["child"]["config_digest"])
    assert config["config"]["Env"][1:] == ["KEPT=base", "OWN=child"]
    assert (config["config"]["Cmd"], config["config"]["User"]) == (["hello"], "app")
    assert config["config"]["Labels"] == {"a": "base"}
    assert [entry["created_by"] for entry in config["history"]] == ["baseforge build base", "baseforge build child"]


KEPT = "stat -c '%n %u %a' /run /run/* /var/lock/*; touch /var/lock/now"


def test_folders_below_run_are_in_the_image(site, first):
    """`/run/lock` is made by a script of base-files, the others by one of the recipe; the file is of the build."""
    assert first.status == 0
    lines = docker("run", "--rm", "--network=none", "--user=0", f"{LOCAL_NAME}/top", "sh", "-ec", KEPT).splitlines()
    assert lines == ["/run 0 755", "/run/child 1234 710", "/run/lock 0 1777", "/var/lock/held 0 755"]


LOOK = (
    "test ! -e /etc/issue; test ! -e /usr/share/common-licenses; test -d /usr/bin/awk; test ! -L /usr/bin/awk;"
    " stat -c %a /opt /tmp; stat -c %i /usr/bin/perl /usr/bin/another-perl | uniq | wc -l;"
    " cat /etc/motd; id -un 1234; ls /usr/share | wc -l"
)


def test_a_container_sees_the_tree_that_was_made(site, first):
    assert first.status == 0
    assert docker("run", "--rm", "--network=none", f"{LOCAL_NAME}/child") == "Hello, world!\n"
    lines = docker("run", "--rm", "--network=none", "--user=0", f"{LOCAL_NAME}/child", "sh", "-ec", LOOK).splitlines()
    assert lines[:5] == ["700", "1777", "1", "child", "app"]
    assert int(lines[5]) > 10
    installed = docker(
        "run", "--rm", "--network=none", f"{LOCAL_NAME}/top", "dpkg-query", "--show", "hello", "base-files"
    )
    assert len(installed.splitlines()) == 2


def test_the_exported_tree_has_all_layers(site, first, tmp_path):
    assert site.run("export", "top", str(tmp_path / "top.tar")).status == 0
    listing = subprocess.run(["tar", "-tvf", tmp_path / "top.tar"], check=True, capture_output=True, text=True).stdout
    names = {line.split()[5]: line for line in listing.splitlines()}
    assert {"./usr/bin/hello", "./usr/bin/awk/", "./var/lib/dpkg/status"} - {f"./{name}" for name in names} == set()
    assert not {"etc/issue", "etc/motd", "usr/share/common-licenses/"} & set(names)
    assert not [name for name in names if ".wh." in name]
    assert "link to usr/bin/" in names["usr/bin/perl"] or "link to usr/bin/" in names["usr/bin/another-perl"]


def test_a_second_run_changes_nothing_and_a_forced_one_gives_the_same(site, first):
    again = site.run("build", "top", "--json")
    assert [each["status"] for each in again.json] == ["unchanged"] * 3
    forced = by_image(site.run("build", "child", "--force", "--json"))
    assert [forced[name]["status"] for name in ("base", "child")] == ["unchanged", "published"]
    assert forced["child"]["manifest_digest"] == by_image(first)["child"]["manifest_digest"]


@pytest.mark.parametrize("image", ["child", "top"])
def test_verify_builds_from_what_was_kept(site, first, image, tmp_path):
    """The recipe of its base image is another by then, or gone."""
    assert first.status == 0
    elsewhere = tmp_path / "none"
    elsewhere.mkdir()
    done = site.run("verify", image, "--recipes", str(elsewhere), "--json")
    assert done.status == 0, done.stderr
    assert (done.json["status"], len(done.json["links"])) == ("reproduced", 7)


def test_layers_are_built_after_their_base_image_and_follow_it(site, first):
    """A parent that fails leaves them as they were; one that is another makes them anew, in a night as well."""
    before = site.builds()
    site.recipe("base", f"{BASE}sweet: x\n")
    failed = site.run("nightly", "--json")
    assert failed.status == 1
    reasons = {record["image"]: record["reason"] for record in failed.json["builds"]}
    assert "base.yaml:5:1" in reasons["base"]
    assert reasons["child"] == "its base image base failed"
    assert reasons["top"] == "its base image child is held"
    assert site.builds() == before
    site.recipe("base", f"{BASE}files: [{{path: /etc/new, content: new}}]\n")
    night = site.run("nightly", "--only", "child", "--json")
    assert [(each["image"], each["status"]) for each in night.json["builds"]] == [
        ("base", "published"),
        ("child", "published"),
    ]
    made, old = {record["image"]: record for record in night.json["builds"]}, by_image(first)
    assert made["child"]["parent"]["manifest_digest"] == made["base"]["manifest_digest"]
    assert made["child"]["lock_digest"] == old["child"]["lock_digest"]
    assert made["child"]["manifest_digest"] != old["child"]["manifest_digest"]
    shown = docker("run", "--rm", "--network=none", "--user=0", f"{LOCAL_NAME}/child", "cat", "/etc/new", "/etc/motd")
    assert shown == "newchild\n"


def test_no_image_is_built_on_a_base_image_that_is_not_in_the_store(site, tmp_path):
    other = Factory(tmp_path, site.settings)
    other.recipe("base", "kind: debootstrap\nsuite: trixie\nvariant: essential\n")
    other.recipe("child", "kind: layer\nfrom: base\n")
    done = other.run("lock", "child")
    assert (done.status, "Traceback" in done.stderr) == (2, False)
    assert "baseforge build base" in done.stderr
