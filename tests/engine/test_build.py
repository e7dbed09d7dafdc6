"""Recipes of the shelf are built from the real archive, run, published, and built again with the same digest."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factory import Done, Factory
from tests.support.parameters import some_in_full
from tests.support.services.podman import LIMITS, podman
from tests.support.services.registry import registry
from tests.support.services.s3 import serve_s3
from tests.support.services.tools import tool
from tests.support.shelf import IMAGES as SHELF
from tests.support.shelf import LOCAL_NAME, Shelf

FIELDS = [
    "image",
    "build",
    "status",
    "platforms",
    "input_digest",
    "manifest_digest",
    "layer_digest",
    "diff_id",
    "size",
    "packages",
    "builder",
    "seconds",
    "smoke",
]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def site(shelf: Shelf) -> Factory:
    """The site of the shelf."""
    return shelf.site


@pytest.fixture
def first(shelf: Shelf) -> Done:
    """The first build of everything."""
    return shelf.first


def digests(done: Done) -> dict[str, str]:
    assert done.status == 0, done.stderr
    return {record["image"]: record["manifest_digest"] for record in done.json}


def test_everything_is_published_once_and_then_unchanged(site, first):
    assert first.status == 0, first.stderr
    assert [record["status"] for record in first.json] == ["published"] * 4
    again = site.run("build", *SHELF, "--json")
    assert [record["status"] for record in again.json] == ["unchanged"] * 4
    assert [record["build"] for record in again.json] == [record["build"] for record in first.json]
    assert digests(again) == digests(first)
    assert site.leftovers() == []


@pytest.mark.parametrize("field", FIELDS)
def test_every_record_has_the_field(first, field):
    assert all(field in record for record in first.json)


def test_progress_has_a_line_a_step_with_seconds_when_it_is_not_a_terminal(first):
    assert "\x1b" not in first.stderr
    for step in ("resolve", "tree", "pack", "assemble", "import", "smoke", "publish", "record"):
        assert f"✓ {step} noble" in first.stderr


def test_the_docker_run_line_that_is_printed_works(first):
    lines = [line.removeprefix("try it: ") for line in first.stderr.splitlines() if line.startswith("try it: ")]
    printed = [subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout for line in lines]
    assert "DISTRIB_CODENAME=noble" in printed[0]
    assert "VERSION_CODENAME=trixie" in printed[1]
    assert printed[3] == "Hello from an image made of nothing else.\n"


def test_the_image_in_the_engine_is_the_one_that_was_computed(first):
    for record in first.json:
        image = json.loads(docker("image", "inspect", f"{LOCAL_NAME}/{record['image']}"))[0]
        assert image["Id"] in (record["config_digest"], record["manifest_digest"])
        assert image["RootFS"]["Layers"] == [record["diff_id"]]


def test_slim_has_copyrights_and_empty_man_folders_and_packages_still_install(site, first, tmp_path):
    """Podman runs it, in the machine's network: the tests' engine has none."""
    assert first.status == 0
    script = (
        "test -s /usr/share/doc/bash/copyright && ! test -e /usr/share/doc/bash/changelog.Debian.gz"
        ' && test -d /usr/share/man/man1 && test -z "$(find /usr/share/man -type f)"'
        ' && test -z "$(ls /usr/share/locale)"'
        " && echo 'Acquire::Retries 3;' > /etc/apt/apt.conf.d/retries && apt-get update -qq"
        " && apt-get install -qq --no-install-recommends bc && echo '6*7' | bc"
    )
    archive = tmp_path / "slim.oci.tar"
    assert site.run("export", "trixie-slim", str(archive)).status == 0
    with podman() as run:
        out = run("run", "--rm", "--network=host", *LIMITS, f"oci-archive:{archive}", "sh", "-ec", script)
    assert out.splitlines()[-1] == "42"


def test_a_tree_says_nothing_of_the_machine_it_was_made_on(site, first, tmp_path):
    tar = tmp_path / "trixie.tar"
    assert site.run("export", "trixie", str(tar)).status == 0
    listing = subprocess.run(["tar", "--list", "--file", tar], check=True, capture_output=True, text=True).stdout
    traces = {"etc/resolv.conf", "etc/hostname", "var/log/dpkg.log", "etc/shadow-"}
    assert not traces & set(listing.splitlines())
    words = ["tar", "-xOf", tar, "etc/apt/sources.list.d/debian.sources"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert re.findall(r"^Suites: (.*)$", said, re.MULTILINE) == ["trixie trixie-updates", "trixie-security"]


OTHER = {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "1"}


@pytest.mark.parametrize("image", some_in_full(SHELF, "noble", "trixie"))
def test_mmdebstrap_gives_the_same_image_under_another_umask_zone_language_and_folder(site, first, image, tmp_path):
    (work := tmp_path / "elsewhere").mkdir()
    other = {**OTHER, "BASEFORGE_WORK": str(work)}
    again = site.run("build", image, "--force", "--json", "--no-publish", env=other, umask=0o077)
    assert digests(again)[image] == digests(first)[image]


@pytest.mark.full  # tests/engine/test_variation.py has debootstrap too
@pytest.mark.parametrize("image", ["noble", "trixie-slim"])
def test_debootstrap_gives_the_same_image_twice(site, image, tmp_path):
    words = ("build", image, "--engine", "debootstrap", "--force", "--json", "--no-publish")
    (work := tmp_path / "elsewhere").mkdir()
    other = {**OTHER, "BASEFORGE_WORK": str(work)}
    one, two = site.run(*words), site.run(*words, env=other, umask=0o077)
    assert digests(one) == digests(two)
    assert one.json[0]["packages"] == two.json[0]["packages"] > 20


def test_without_publish_nothing_is_kept(tmp_path):
    factory = Factory(tmp_path)
    factory.shelf("hello")
    done = factory.run("build", "hello", "--no-publish", "--json")
    assert (done.status, done.json[0]["status"]) == (0, "built")
    assert factory.builds() == []


def test_an_image_that_cannot_start_is_not_published_and_one_without_checks_says_so(tmp_path):
    factory = Factory(tmp_path)
    factory.shelf("hello")
    recipe = factory.recipes / "hello.yaml"
    text = recipe.read_text().partition("image:\n")[0]
    recipe.write_text(f"{text}image:\n  cmd: [/helo]\n")
    done = factory.run("build", "hello")
    assert (done.status, factory.builds()) == (2, [])
    assert "hello.yaml:11:8: `cmd`: '/helo' is not in the image. Did you mean 'hello'?" in done.stderr
    recipe.write_text(f"{text}image:\n  cmd: [/hello]\n")
    [record] = factory.run("build", "hello", "--json").json
    known = "no checks: nothing is tested but that /hello is in the image"
    assert record["smoke"] == {"passed": 0, "failed": 0, "untested": known}


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    with registry(tmp_path / "registry") as address:
        yield address


def test_with_a_registry_it_is_pushed_with_its_digest_and_runs_after_a_pull(address, tmp_path):
    settings = {"BASEFORGE_REGISTRY": f"{address}/base", "BASEFORGE_REGISTRY_INSECURE": "true"}
    factory = Factory(tmp_path, {**settings, "BASEFORGE_LOCAL_NAME": "baseforge-pushed"})
    factory.shelf("hello")
    [record] = factory.run("build", "hello", "--json").json
    assert record["registry"] == f"{address}/base/hello@{record['manifest_digest']}"
    # The oldest engine we support cannot pull zstd layers itself: two other tools take it out of the registry.
    words = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"]
    subprocess.run([*words, f"docker://{address}/base/hello:latest", f"oci:{tmp_path}/pulled:1"], check=True)
    index = json.loads((tmp_path / "pulled/index.json").read_text())
    assert index["manifests"][0]["digest"] == record["manifest_digest"]
    manifest = tmp_path / "pulled/blobs" / record["manifest_digest"].replace(":", "/")
    assert json.loads(manifest.read_text())["annotations"] == {
        "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
        "org.opencontainers.image.title": "hello",
    }
    subprocess.run([tool("umoci"), "unpack", "--image", f"{tmp_path}/pulled:1", tmp_path / "bundle"], check=True)
    assert docker("run", "--rm", _imported(tmp_path / "bundle/rootfs"), "/hello").startswith("Hello")


def _imported(tree: Path) -> str:
    """A tree as an image of the engine."""
    with subprocess.Popen(["tar", "--create", "--directory", tree, "."], stdout=subprocess.PIPE) as tar:
        words = ["docker", "import", "-", "baseforge-pulled:latest"]
        return subprocess.run(words, stdin=tar.stdout, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def s3(tmp_path) -> Iterator[dict[str, str]]:
    """The settings and credentials of a site that keeps its images in a bucket."""
    with serve_s3(tmp_path / "s3") as server:
        address = {"BASEFORGE_STORE": f"s3://{server.make_bucket()}/images", "BASEFORGE_S3_ENDPOINT": server.endpoint}
        yield {**address, **server.environment()}


def test_in_s3_as_in_a_folder(s3, tmp_path):
    factory = Factory(tmp_path, s3)
    factory.shelf("hello")
    assert factory.run("build", "hello", "--json").json[0]["status"] == "published"
    assert factory.run("build", "hello", "--json").json[0]["status"] == "unchanged"
    [listed] = factory.run("list", "--json").json
    assert listed["image"] == "hello"
    assert factory.run("export", "hello", str(tmp_path / "hello.tar.zst")).status == 0
    packed = hashlib.sha256((tmp_path / "hello.tar.zst").read_bytes()).hexdigest()
    assert listed["layer_digest"] == f"sha256:{packed}"
